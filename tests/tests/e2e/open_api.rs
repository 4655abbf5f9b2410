//! `GET /openapi.json` against what the agent really answers.

use std::collections::BTreeSet;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Api, Guard, Site, address, header};
use serde_json::{Map, Value, json};

use crate::common::{CLIENT, DESTINATION, ask_names, open_and_send, socket_address, trusted_dial};

/// Requests, one after the other, and the status of each answer; `{peer}` and `{local}` are a flow's.
/// `GET /v1/acl/web` comes while there are rules.
const REQUESTS: &[(&str, &str, &str, u16)] = &[
    ("GET", "/healthz", "/healthz", 200),
    ("GET", "/readyz", "/readyz", 200),
    ("GET", "/metrics", "/metrics", 200),
    ("GET", "/v1/status", "/v1/status", 200),
    ("GET", "/v1/listeners", "/v1/listeners", 200),
    ("GET", "/v1/config", "/v1/config", 200),
    ("GET", "/v1/flows", "/v1/flows", 200),
    ("GET", "/v1/flows", "/v1/flows?limit=1", 200),
    ("GET", "/v1/flows", "/v1/flows?limit=0", 400),
    ("GET", "/v1/flows", "/v1/flows?listener=nobody", 404),
    ("GET", "/v1/flows/lookup", "/v1/flows/lookup?peer={peer}&local={local}", 200),
    ("GET", "/v1/flows/lookup", "/v1/flows/lookup?peer={peer}", 400),
    ("GET", "/v1/flows/lookup", "/v1/flows/lookup?peer=10.77.1.2:1&local={local}", 404),
    ("GET", "/v1/clients", "/v1/clients", 200),
    ("GET", "/v1/clients", "/v1/clients?limit=many", 400),
    ("GET", "/v1/clients", "/v1/clients?listener=nobody", 404),
    ("PUT", "/v1/acl/{listener}", "/v1/acl/web?network=198.51.100.0/24&verdict=deny", 200),
    ("PUT", "/v1/acl/{listener}", "/v1/acl/web?network=2001:db8::/32&verdict=allow", 200),
    ("PUT", "/v1/acl/{listener}", "/v1/acl/web?network=nobody&verdict=allow", 400),
    ("PUT", "/v1/acl/{listener}", "/v1/acl/nobody?network=2001:db8::/32&verdict=allow", 404),
    ("GET", "/v1/acl/{listener}", "/v1/acl/web", 200),
    ("GET", "/v1/acl/{listener}", "/v1/acl/nobody", 404),
    ("GET", "/v1/acl/{listener}/test", "/v1/acl/web/test?client=198.51.100.7", 200),
    ("GET", "/v1/acl/{listener}/test", "/v1/acl/web/test?client=192.0.2.1", 200),
    ("GET", "/v1/acl/{listener}/test", "/v1/acl/web/test", 400),
    ("GET", "/v1/acl/{listener}/test", "/v1/acl/nobody/test?client=192.0.2.1", 404),
    ("POST", "/v1/disconnect", "/v1/disconnect", 200),
    ("POST", "/v1/disconnect", "/v1/disconnect", 200),
    ("POST", "/v1/disconnect", "/v1/disconnect?to=web", 400),
    ("POST", "/v1/disconnect", "/v1/disconnect?listener=nobody", 404),
    ("DELETE", "/v1/acl/{listener}", "/v1/acl/web?network=198.51.100.0/24", 200),
    ("DELETE", "/v1/acl/{listener}", "/v1/acl/web?network=nobody", 400),
    ("DELETE", "/v1/acl/{listener}", "/v1/acl/web?network=198.51.100.0/24", 404),
    ("DELETE", "/v1/acl/{listener}", "/v1/acl/web?network=203.0.113.0/24", 409),
    ("POST", "/v1/reload", "/v1/reload", 200),
    ("POST", "/v1/listeners/{listener}/drain", "/v1/listeners/web/drain", 200),
    ("POST", "/v1/listeners/{listener}/drain", "/v1/listeners/web/drain?port=1", 404),
    ("POST", "/v1/listeners/{listener}/drain", "/v1/listeners/nobody/drain", 404),
    ("POST", "/v1/listeners/{listener}/resume", "/v1/listeners/web/resume?port=80", 409),
    ("POST", "/v1/listeners/{listener}/resume", "/v1/listeners/web/resume?port=x", 400),
    ("POST", "/v1/listeners/{listener}/resume", "/v1/listeners/web/resume", 200),
];

/// Requested, though the document does not describe itself.
const UNDESCRIBED: [&str; 1] = ["/openapi.json"];

fn with_agent(test: impl FnOnce(&mut Api, [String; 2])) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).deny("203.0.113.0/24");
    let mut agent = Agent::start(&site, &guard);
    let tlvs = [header::tlv(0x02, b"example.org"), header::tlv(0xe4, &[0x42])].concat();
    let header = header::v2_with(socket_address(CLIENT), socket_address(DESTINATION), &tlvs);
    let streams = [(); 3].map(|()| open_and_send(&site, &trusted_dial(80), &header));
    for stream in &streams {
        ask_names(stream);
    }
    // The agent has the TLVs of all of them.
    let [peer, ..] = streams.each_ref().map(|stream| {
        let peer = stream.local_addr().expect("bound").to_string();
        agent.wait_event("accept", &peer);
        peer
    });
    test(&mut agent.api(), [peer, format!("{}:80", address::SERVER)]);
    site.finish(&mut agent, &[]);
}

/// All methods that HTTP has here.
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Method and path of everything in the document.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = METHODS.into_iter().filter(|method| item.get(*method).is_some());
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// Forbids properties that a schema does not name, here and below.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            close_below(fields);
            let mut naming = ["properties", "allOf", "oneOf", "$ref"].iter();
            if naming.any(|name| fields.contains_key(*name))
                && !fields.contains_key("additionalProperties")
            {
                fields.insert("unevaluatedProperties".into(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Schemas that are joined name properties together: none of them forbids the others'.
fn close_below(fields: &mut Map<String, Value>) {
    for (name, value) in fields.iter_mut() {
        match (name.as_str(), value) {
            ("allOf" | "oneOf", Value::Array(parts)) => {
                parts.iter_mut().filter_map(Value::as_object_mut).for_each(close_below);
            }
            ("properties", Value::Object(properties)) => {
                properties.iter_mut().for_each(|(_, property)| close(property));
            }
            ("example", _) => {}
            (_, value) => close(value),
        }
    }
}

/// What is wrong with `answer` by `schema`, which may refer to the document's components.
fn faults(document: &Value, schema: &Value, answer: &Value) -> Vec<String> {
    let mut components = document["components"]["schemas"].clone();
    // They are closed where they are referred to.
    let roots = components.as_object_mut().expect("schemas").values_mut();
    roots.filter_map(Value::as_object_mut).for_each(close_below);
    let mut schema = schema.clone();
    close(&mut schema);
    schema["components"] = json!({ "schemas": components });
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    validator
        .iter_errors(answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// One agent answers all of this.
#[test]
fn answers_are_as_the_document_describes_them() {
    with_agent(|api, [peer, local]| {
        assert_is_open_api_3_1(api);
        assert_properties_that_are_not_described_are_found(api);
        assert_every_answer_is_as_described(api, &peer, &local);
        assert_nothing_is_answered_that_is_not_described(api);
    });
}

fn assert_is_open_api_3_1(api: &mut Api) {
    let document = api.get("/openapi.json");
    assert_eq!(document["openapi"].as_str().map(|version| &version[..4]), Some("3.1."));
    for field in ["title", "version"] {
        assert!(document["info"][field].is_string(), "{field}");
    }
    let mut operations = BTreeSet::new();
    for (method, path) in described(&document) {
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        let id = operation["operationId"].as_str().expect("an id").to_owned();
        assert!(operations.insert(id.clone()), "{id} is there twice");
        let in_path = operation["parameters"].as_array().into_iter().flatten();
        let in_path = in_path.filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{method} {path}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema}");
    }
}

fn assert_every_answer_is_as_described(api: &mut Api, peer: &str, local: &str) {
    let document = api.get("/openapi.json");
    for (method, path, request, status) in REQUESTS {
        let request = request.replace("{peer}", peer).replace("{local}", local);
        let reply = api.reply(method, &request);
        let told = || String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, *status, "{method} {request}: {}", told());
        let operation = &document["paths"][*path][method.to_lowercase()];
        let response = &operation["responses"][status.to_string()];
        assert!(response["description"].is_string(), "{method} {path} does not tell of {status}");
        let content = response["content"].as_object().expect("a body");
        let (kind, content) = content.iter().next().expect("a kind of body");
        assert!(reply.content_type.starts_with(kind.as_str()), "{}", reply.content_type);
        if kind == "application/json" {
            let faults = faults(&document, &content["schema"], &reply.json());
            assert!(faults.is_empty(), "{method} {request}: {faults:?} in {}", told());
        }
    }
    let requested = |ok: bool| {
        let requests = REQUESTS.iter().filter(|(.., status)| (*status == 200) == ok);
        requests.map(|(method, path, ..)| ((*method).into(), (*path).into())).collect()
    };
    assert_eq!(described(&document), requested(true), "each is requested");
    // These cannot go wrong as long as the maps can be read, and the file is right.
    let sure = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/status",
        "/v1/config",
        "/v1/listeners",
        "/v1/reload",
    ];
    let failing = described(&document).into_iter().filter(|(_, path)| !sure.contains(&&**path));
    assert_eq!(failing.collect::<BTreeSet<_>>(), requested(false), "each goes wrong");
}

fn assert_nothing_is_answered_that_is_not_described(api: &mut Api) {
    let document = api.get("/openapi.json");
    let described = described(&document);
    let paths: BTreeSet<_> = described.iter().map(|(_, path)| path.as_str()).collect();
    for path in paths.into_iter().chain(UNDESCRIBED) {
        for method in METHODS.map(str::to_uppercase) {
            let reply = api.reply(&method, &path.replace("{listener}", "nobody"));
            let known = described.contains(&(method.clone(), path.into()))
                || (UNDESCRIBED.contains(&path) && method == "GET");
            assert_eq!(reply.status != 405, known, "{method} {path}");
            if !known {
                let faults = faults(
                    &document,
                    &json!({ "$ref": "#/components/schemas/ErrorJson" }),
                    &reply.json(),
                );
                assert!(faults.is_empty(), "{method} {path}: {faults:?}");
            }
        }
    }
    for path in ["/v1", "/v1/", "/v1/flows/", "/v2/flows", "/v1/acl", "/v1/flows/lookup/x", "//"] {
        assert_eq!(api.reply("GET", path).status, 404, "{path}");
    }
}

/// The check itself: it must find what is wrong.
fn assert_properties_that_are_not_described_are_found(api: &mut Api) {
    let document = api.get("/openapi.json");
    let schema = json!({ "$ref": "#/components/schemas/FlowPage" });
    let page = api.get("/v1/flows");
    assert_eq!(faults(&document, &schema, &page), Vec::<String>::new());
    for pointer in ["", "/flows/0", "/flows/0/tlvs"] {
        let mut more = page.clone();
        more.pointer_mut(pointer).expect("a place")["unknown"] = 1.into();
        assert!(!faults(&document, &schema, &more).is_empty(), "{pointer}");
    }
    let mut less = page;
    less.pointer_mut("/flows/0").and_then(Value::as_object_mut).expect("a flow").remove("client");
    assert!(!faults(&document, &schema, &less).is_empty());
}
