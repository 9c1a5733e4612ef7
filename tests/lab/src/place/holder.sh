# Makes the private mounts of a place, says "ready", and holds them until killed.
# Arguments: node|router|host, the place's own folder, the checkout, v4|v6|dual, how many uplinks nodes have.
set -eu
kind=$1 own=$2 checkout=$3 family=$4 uplinks=$5

# Copies of other namespaces' handles would keep those alive after their lab is gone.
if [ -d /run/netns ]; then
    for handle in /run/netns/*; do umount -l "$handle" 2>/dev/null || :; done
    umount -l /run/netns 2>/dev/null || :
fi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/margay-lab

set_all() { for ip in ipv4 ipv6; do echo "$2" 2>/dev/null >"/proc/sys/net/$ip/$1" || :; done; }

# There is no IPv6 in an IPv4-only lab. (IPv4 cannot be turned off.)
if [ "$family" = v4 ]; then
    for conf in all default lo; do echo 1 >/proc/sys/net/ipv6/conf/$conf/disable_ipv6; done
fi

case $kind in
router)
    echo 1 >/proc/sys/net/ipv4/ip_forward
    set_all conf/all/forwarding 1
    set_all fib_multipath_hash_policy 1
    # Or a port that a test takes down would come up without its IPv6 address.
    echo 1 >/proc/sys/net/ipv6/conf/all/keep_addr_on_down
    # No duplicate detection: BIRD would start without link-local addresses.
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
    mkdir -p /run/bird /run/frr
    chown frr:frr /run/frr 2>/dev/null || :
    ;;
node)
    # What a fresh machine has; a new namespace would inherit the machine's.
    echo 0 >/proc/sys/net/ipv4/ip_forward
    set_all conf/all/forwarding 0
    if [ "$uplinks" = 2 ]; then
        # What an administrator of such nodes sets: static routes too leave an uplink without carrier, and flows spread over both.
        set_all conf/all/ignore_routes_with_linkdown 1
        set_all conf/default/ignore_routes_with_linkdown 1
        set_all fib_multipath_hash_policy 1
    fi

    # Everything that a DaemonSet may mount from the host is the node's own. The checkout stays visible at its
    # path even if that lies below one of these folders.
    mkdir /run/margay-lab/checkout
    mount --bind "$checkout" /run/margay-lab/checkout
    for folder in etc opt var; do
        mkdir -p "/run/margay-lab/$folder/upper" "/run/margay-lab/$folder/work"
        mount -t overlay -o "lowerdir=/$folder,upperdir=/run/margay-lab/$folder/upper,workdir=/run/margay-lab/$folder/work" overlay "/$folder"
    done
    case $checkout in
    /etc/* | /opt/* | /var/*) mount --bind /run/margay-lab/checkout "$checkout" ;;
    esac
    umount /run/margay-lab/checkout

    # On disk, because it is large or must outlive a reboot of the node.
    for folder in /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/lib/margay /var/log/pods \
        /var/log/containers /etc/cni/net.d; do
        mkdir -p "$folder" "$own$folder"
        mount --bind "$own$folder" "$folder"
    done
    # The reference plugins of the Debian package below, what is installed later above.
    mkdir -p /opt/cni/bin "$own/opt/cni/bin" "$own/opt/cni/work"
    mount -t overlay -o "lowerdir=/usr/lib/cni,upperdir=$own/opt/cni/bin,workdir=$own/opt/cni/work" overlay /opt/cni/bin
    # A server that refuses at once: the machine's own may take seconds to time out.
    rm -f /etc/resolv.conf
    echo "nameserver 127.0.0.1" >/etc/resolv.conf
    ;;
esac
# Shared within the place: pods may ask for mounts that follow the node's.
mount --make-rshared /
echo ready
exec sleep infinity >/dev/null
