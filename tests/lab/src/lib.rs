//! Real Kubernetes clusters in network namespaces.
