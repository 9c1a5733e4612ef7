use super::super::Code;
use super::*;
use crate::rpc;
use serde_json::json;

fn dual_stack() -> rpc::cni::AddReply {
    let link = |name: &str, mac: &str, sandbox: &str| rpc::cni::Interface {
        name: name.into(),
        mac: mac.into(),
        mtu: 1500,
        sandbox: sandbox.into(),
    };
    let address = |address: &str, gateway: &str| rpc::cni::Address {
        address: address.into(),
        gateway: gateway.into(),
        interface: 1,
    };
    let route = |destination: &str, gateway: &str| rpc::cni::Route {
        destination: destination.into(),
        gateway: gateway.into(),
    };
    rpc::cni::AddReply {
        error: None,
        interfaces: vec![
            link("mgy0123456789ab", "ee:ee:ee:ee:ee:ee", ""),
            link("eth0", "5a:00:00:00:00:01", "/run/netns/a"),
        ],
        addresses: vec![
            address("10.244.0.7/32", "169.254.1.1"),
            address("fd00:10:244::7/128", "fe80::1"),
        ],
        routes: vec![route("0.0.0.0/0", "169.254.1.1"), route("::/0", "fe80::1")],
    }
}

fn json_in(version: Version) -> serde_json::Value {
    let result = AddResult::try_from(dual_stack())
        .unwrap()
        .in_version(version);
    serde_json::to_value(result).unwrap()
}

#[test]
fn newest_result_is_golden_to_the_byte() {
    let result = AddResult::try_from(dual_stack())
        .unwrap()
        .in_version(Version::V1_1_0);
    let golden = concat!(
        r#"{"cniVersion":"1.1.0","interfaces":["#,
        r#"{"name":"mgy0123456789ab","mac":"ee:ee:ee:ee:ee:ee","mtu":1500},"#,
        r#"{"name":"eth0","mac":"5a:00:00:00:00:01","mtu":1500,"sandbox":"/run/netns/a"}],"#,
        r#""ips":[{"interface":1,"address":"10.244.0.7/32","gateway":"169.254.1.1"},"#,
        r#"{"interface":1,"address":"fd00:10:244::7/128","gateway":"fe80::1"}],"#,
        r#""routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    );
    assert_eq!(serde_json::to_string(&result).unwrap(), golden);
}

#[test]
fn results_of_1_0_0_have_no_mtu() {
    let golden = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "mgy0123456789ab", "mac": "ee:ee:ee:ee:ee:ee"},
            {"name": "eth0", "mac": "5a:00:00:00:00:01", "sandbox": "/run/netns/a"}
        ],
        "ips": [
            {"interface": 1, "address": "10.244.0.7/32", "gateway": "169.254.1.1"},
            {"interface": 1, "address": "fd00:10:244::7/128", "gateway": "fe80::1"}
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
    });
    assert_eq!(json_in(Version::V1_0_0), golden);
}

#[test]
fn results_up_to_0_4_0_name_the_family() {
    let ips = json!([
        {"version": "4", "interface": 1, "address": "10.244.0.7/32", "gateway": "169.254.1.1"},
        {"version": "6", "interface": 1, "address": "fd00:10:244::7/128", "gateway": "fe80::1"}
    ]);
    for version in [Version::V0_3_1, Version::V0_4_0] {
        let result = json_in(version);
        assert_eq!(result["cniVersion"], version.as_str());
        assert_eq!(result["ips"], ips);
        assert_eq!(result["interfaces"], json_in(Version::V1_0_0)["interfaces"]);
    }
}

#[test]
fn every_version_reads_back_to_the_same_result() {
    let newest = AddResult::try_from(dual_stack())
        .unwrap()
        .in_version(Version::V1_0_0);
    for version in Version::ALL {
        let read: AddResult = serde_json::from_value(json_in(version)).unwrap();
        assert_eq!(read.in_version(Version::V1_0_0), newest);
    }
}

#[test]
fn fields_of_other_plugins_are_ignored_when_read() {
    let result: AddResult = serde_json::from_value(json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "pciID": "0000:00:1f.6", "socketPath": "/x"}],
        "ips": [{"address": "10.0.0.1/24"}],
        "routes": [{"dst": "10.0.0.0/8", "priority": 5, "table": 7}],
        "dns": {"nameservers": ["10.96.0.10"], "options": ["ndots:5"]},
        "future": true
    }))
    .unwrap();
    assert_eq!(result.ips[0].interface, None);
    assert_eq!(result.dns.unwrap().options, ["ndots:5"]);
}

#[test]
fn refusals_pass_as_they_are() {
    let error = rpc::cni::Error {
        code: 11,
        message: "pool is empty".into(),
        details: "create another".into(),
    };
    let refused = rpc::cni::AddReply {
        error: Some(error),
        ..Default::default()
    };
    let error = AddResult::try_from(refused).unwrap_err();
    assert_eq!(
        (error.code, error.msg.as_str(), error.details.as_str()),
        (Code(11), "pool is empty", "create another")
    );
}

#[test]
fn nonsense_from_the_agent_is_an_error_not_a_result() {
    let break_it: [fn(&mut rpc::cni::AddReply); 4] = [
        |reply| reply.addresses[0].address = "10.244.0.7".into(),
        |reply| reply.addresses[1].gateway = "fe80::1%eth0".into(),
        |reply| reply.addresses[0].interface = 2,
        |reply| reply.routes[0].destination = "default".into(),
    ];
    for (case, breaks) in break_it.iter().enumerate() {
        let mut reply = dual_stack();
        breaks(&mut reply);
        assert_eq!(
            AddResult::try_from(reply).unwrap_err().code,
            Code::INTERNAL,
            "case {case}"
        );
    }
}
