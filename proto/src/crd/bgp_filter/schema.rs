//! Schemas of lists whose items have a form of their own: the refusal shows the item that is wrong.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A number, or `*`.
const ANY: &str = "([0-9]{1,10}|[*])";
const NAMES: &str = "no-export|no-advertise|no-export-subconfed|graceful-shutdown";

/// Addresses and networks.
pub(super) fn networks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "nullable": true,
        "minItems": 1,
        "maxItems": 64,
        "items": {
            "type": "string",
            "maxLength": 43,
            "x-kubernetes-validations": [{
                "rule": "isIP(self) || (isCIDR(self) && cidr(self) == cidr(self).masked())",
                "message": "must be an IP address, or a network in CIDR notation without host bits (given: {self})"
            }]
        }
    })
}

/// Names of links.
pub(super) fn interfaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "nullable": true,
        "minItems": 1,
        "maxItems": 16,
        "items": {
            "type": "string",
            "maxLength": 16,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([^/*[:space:]]{1,15}|[^/*[:space:]]{0,14}[*])$')",
                "message": "must be the name of a network interface, such as eth0, or how it begins, such as bond* (given: {self})"
            }]
        }
    })
}

/// Communities, each exactly one.
pub(super) fn communities(_: &mut SchemaGenerator) -> Schema {
    let one = "[0-9]{1,10}";
    list(
        0,
        one,
        "must be a community such as 65000:100, no-export, 65000:1:2, rt:65000:100, soo:65000:100 or 0x0002fde800000064 (given: {self})",
    )
}

/// Communities, `*` for any number.
pub(super) fn patterns(_: &mut SchemaGenerator) -> Schema {
    list(
        1,
        ANY,
        "must be a community such as 65000:100, 65000:*, no-export, 65000:1:2, rt:65000:* or 0x0002fde800000064 (given: {self})",
    )
}

fn list(least: u32, number: &str, message: &str) -> Schema {
    let extended = format!("(rt|soo):([0-9]{{1,10}}|[0-9.]{{7,15}}):{number}");
    let form = format!("^({NAMES}|{number}:{number}(:{number})?|{extended}|0x[0-9a-fA-F]{{16}})$");
    json_schema!({
        "type": "array",
        "nullable": true,
        "minItems": least,
        "maxItems": 32,
        "items": {
            "type": "string",
            "maxLength": 40,
            "x-kubernetes-validations": [{ "rule": format!("self.matches('{form}')"), "message": message }]
        }
    })
}

/// A pattern of AS paths; that it is a regular expression is for the agents to find out.
pub(super) fn regex(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "minLength": 1,
        "maxLength": 256,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[-0-9 _^$.*+?|()\\\\[\\\\]{},]*$')",
            "message": "regex must be made of digits, spaces, commas and the signs of a regular expression, `_` for what is between numbers (given: {self})"
        }]
    })
}
