//! What IAM permits each deployed function, tried with the credentials of its role. A handler with a
//! bug has the same credentials, so it is refused the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Value, json};
use templates::Templates;

use crate::cloud::{Session, configuration};
use crate::fixtures::Tenant;
use crate::hub::{Answer, random, run_concurrently};

/// A request to a table: the feature, whether it is to the index, the action, and the partition keys
/// as a pattern.
type Request = (String, bool, String, String);

/// A deployed function.
struct Deployed {
    session: Session,
    /// What the templates permit its role.
    granted: BTreeSet<Request>,
}

/// The deployed functions by name.
static DEPLOYED: LazyLock<BTreeMap<String, Deployed>> = LazyLock::new(|| {
    let templates = Templates::read().unwrap();
    let names: Vec<String> = templates.functions().map(|(_, function)| binary(function)).collect();
    let deployed = run_concurrently(names.len(), |number| {
        let session = Session::of(&configuration(&names[number])["Role"]);
        let role = names[number].split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
        let role = format!("{}Role", role.collect::<String>());
        (names[number].clone(), Deployed { session, granted: granted(&templates, &role) })
    });
    deployed.into_iter().collect()
});

/// The names of the tables by feature.
static TABLES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut tables = BTreeMap::new();
    for binary in ["api-queue", "api-integrations", "consumer-inbound", "consumer-events"] {
        let variables = configuration(binary)["Environment"]["Variables"].take();
        for (name, table) in variables.as_object().unwrap() {
            if let Some(feature) = name.strip_suffix("_TABLE_NAME") {
                tables.insert(feature.to_lowercase(), table.as_str().unwrap().to_owned());
            }
        }
    }
    tables
});

/// Returns the name of a function's binary.
fn binary(function: &Value) -> String {
    let name = function["FunctionName"]["!Sub"].as_str().unwrap();
    name.strip_prefix("${AWS::StackName}-").unwrap().to_owned()
}

fn each(value: &Value) -> Vec<&str> {
    let items = value.as_array().map_or_else(|| vec![value], |items| items.iter().collect());
    items.into_iter().map(|item| item.as_str().unwrap()).collect()
}

/// Returns the requests to tables that the templates permit a role.
fn granted(templates: &Templates, role: &str) -> BTreeSet<Request> {
    let role = &templates.resources[role]["Properties"];
    let own = role["Policies"].as_array().into_iter().flatten();
    let managed = role["ManagedPolicyArns"].as_array().into_iter().flatten();
    let managed =
        managed.map(|policy| &templates.resources[policy["!Ref"].as_str().unwrap()]["Properties"]);
    let statements = own
        .chain(managed)
        .flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
    let mut granted = BTreeSet::new();
    for statement in statements {
        for action in each(&statement["Action"]) {
            let Some(action) = action.strip_prefix("dynamodb:") else { continue };
            let resource = &statement["Resource"];
            let index = resource["!Sub"].as_str();
            let table = index.or(resource["!GetAtt"].as_str()).unwrap().trim_start_matches("${");
            let feature = table.split("Table.").next().unwrap().to_lowercase();
            let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
            for pattern in each(keys) {
                granted.insert((
                    feature.clone(),
                    index.is_some(),
                    action.to_owned(),
                    pattern.to_owned(),
                ));
            }
        }
    }
    granted
}

/// Returns the partition key of the request for a pattern.
fn key_of(pattern: &str) -> String {
    pattern.replace('*', "permission-test")
}

/// Returns whether the templates permit the request for a pattern, by this pattern or another one.
fn is_granted(granted: &BTreeSet<Request>, (feature, on_index, action, pattern): &Request) -> bool {
    granted.iter().any(|(own, own_index, permitted, allowed)| {
        (own, own_index, permitted) == (feature, on_index, action)
            && templates::matches(allowed, &key_of(pattern))
    })
}

/// Sends a request for an item that does not exist; returns whether IAM permits it. Nothing is
/// written.
fn is_permitted(session: &Session, (feature, on_index, action, pattern): &Request) -> bool {
    let table = &TABLES[feature];
    let pk = json!({"S": key_of(pattern)});
    let key = json!({"pk": pk, "sk": {"S": "permission-test"}});
    let exists = "attribute_exists(pk)";
    let (operation, body) = match action.as_str() {
        "GetItem" => ("GetItem", json!({"TableName": table, "Key": key})),
        "PutItem" => {
            ("PutItem", json!({"TableName": table, "Item": key, "ConditionExpression": exists}))
        }
        "DeleteItem" => {
            ("DeleteItem", json!({"TableName": table, "Key": key, "ConditionExpression": exists}))
        }
        "UpdateItem" => (
            "UpdateItem",
            json!({"TableName": table, "Key": key, "ConditionExpression": exists,
                   "UpdateExpression": "SET changed = :pk",
                   "ExpressionAttributeValues": {":pk": pk}}),
        ),
        "Query" if *on_index => (
            "Query",
            json!({"TableName": table, "IndexName": "by_parent",
                   "KeyConditionExpression": "gsi1pk = :pk",
                   "ExpressionAttributeValues": {":pk": pk}}),
        ),
        "Query" => (
            "Query",
            json!({"TableName": table, "KeyConditionExpression": "pk = :pk AND sk > :sk",
                   "ExpressionAttributeValues": {":pk": pk, ":sk": {"S": "permission"}}}),
        ),
        "BatchGetItem" => ("BatchGetItem", json!({"RequestItems": {table: {"Keys": [key]}}})),
        "BatchWriteItem" => {
            let delete = json!([{"DeleteRequest": {"Key": key}}]);
            ("BatchWriteItem", json!({"RequestItems": {table: delete}}))
        }
        "ConditionCheckItem" => {
            let check = json!({"TableName": table, "Key": key, "ConditionExpression": exists});
            ("TransactWriteItems", json!({"TransactItems": [{"ConditionCheck": check}]}))
        }
        other => panic!("add a request for {other}"),
    };
    permits(&session.dynamodb(operation, &body))
}

/// Returns whether IAM permits a request with this answer.
fn permits(answer: &Answer) -> bool {
    let body = answer.json();
    let kind = body["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap();
    match (answer.status, kind) {
        (200, _) | (400, "ConditionalCheckFailedException" | "TransactionCanceledException") => {
            true
        }
        // AWS returns 400, and the local cloud 403.
        (400 | 403, "AccessDeniedException") => false,
        _ => panic!("{answer}"),
    }
}

#[test]
fn a_role_permits_each_request_of_its_function_and_none_for_items_of_another_purpose() {
    let all: BTreeSet<Request> =
        DEPLOYED.values().flat_map(|function| function.granted.iter().cloned()).collect();
    assert!(all.len() > 50, "{all:?}");
    // Roles with the same permissions are tried once for what they do not permit.
    let mut tried = BTreeSet::new();
    let mut requests = Vec::new();
    for (name, function) in &*DEPLOYED {
        let own = function.granted.iter().map(|request| (name, request));
        requests.extend(own);
        if tried.insert(&function.granted) {
            let others = all.difference(&function.granted).map(|request| (name, request));
            requests.extend(others);
        }
    }
    let threads = 4;
    let wrong = run_concurrently(threads, |thread| {
        let own = requests.iter().skip(thread).step_by(threads);
        let wrong = own.filter_map(|(name, request)| {
            let Deployed { session, granted } = &DEPLOYED[*name];
            let permitted = is_permitted(session, request);
            (permitted != is_granted(granted, request))
                .then(|| format!("{name}: {request:?}: permitted: {permitted}"))
        });
        wrong.collect::<Vec<_>>()
    });
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_hash_of_an_api_key_is_read_by_the_authorizer_and_written_by_the_api_of_tenants_only() {
    let tenant = Tenant::new("permissions");
    let keys = tenant.api.get(&format!("/tenants/{}/keys", tenant.id)).expect(200);
    let id = keys["keys"][0]["id"].as_str().unwrap();
    let table = &TABLES["accounts"];
    let key = |id: &str| json!({"pk": {"S": format!("KEY#{id}")}, "sk": {"S": "KEY"}});
    let read = json!({"TableName": table, "Key": key(id)});
    let forged = format!("forged-{:016x}", random());
    let forge = json!({"TableName": table, "Item": key(&forged),
                       "ConditionExpression": "attribute_exists(pk)"});
    for (name, function) in &*DEPLOYED {
        let session = &function.session;
        let answer = session.dynamodb("GetItem", &read);
        assert_eq!(permits(&answer), name == "api-authorizer", "{name}: {answer}");
        if permits(&answer) {
            assert!(answer.json()["Item"]["hash"]["S"].is_string(), "{answer}");
        }
        let batch = json!({"RequestItems": {table: {"Keys": [key(id)]}}});
        let answer = session.dynamodb("BatchGetItem", &batch);
        assert!(!permits(&answer), "{name}: {answer}");
        let query = json!({"TableName": table, "KeyConditionExpression": "pk = :pk",
                           "ExpressionAttributeValues": {":pk": key(id)["pk"]}});
        let answer = session.dynamodb("Query", &query);
        assert!(!permits(&answer), "{name}: {answer}");
        let answer = session.dynamodb("PutItem", &forge);
        assert_eq!(permits(&answer), name == "api-tenants", "{name}: {answer}");
        let scan = session.dynamodb("Scan", &json!({"TableName": table}));
        assert!(!permits(&scan), "{name}: {scan}");
    }
}

#[test]
fn a_batch_or_transaction_is_refused_if_one_of_its_items_is_of_another_purpose() {
    let tables = &*TABLES;
    let key = |pk: &str| json!({"pk": {"S": pk}, "sk": {"S": "permission-test"}});
    let exists = "attribute_exists(pk)";
    let session = &DEPLOYED["api-tenants"].session;
    let put = |pk: &str| {
        json!({"Put": {"TableName": tables["accounts"], "Item": key(pk),
                       "ConditionExpression": exists}})
    };
    for (second, is_allowed) in [("T#permission-test#KEYS", true), ("INT#permission-test", false)] {
        let writes = json!({"TransactItems": [put("KEY#permission-test"), put(second)]});
        let answer = session.dynamodb("TransactWriteItems", &writes);
        assert_eq!(permits(&answer), is_allowed, "{second}: {answer}");
    }
    // Each item of a transaction is checked in its own table.
    let session = &DEPLOYED["api-queue"].session;
    let notify = |table: &str| {
        json!({"Put": {"TableName": tables[table], "Item": key("DUE#0"),
                       "ConditionExpression": exists}})
    };
    let update = json!({"Update": {"TableName": tables["work"],
                                   "Key": key("T#permission-test#QUEUE#1"),
                                   "ConditionExpression": exists,
                                   "UpdateExpression": "SET changed = :a",
                                   "ExpressionAttributeValues": {":a": {"S": "a"}}}});
    for (table, is_allowed) in [("endpoints", true), ("work", false)] {
        let writes = json!({"TransactItems": [update, notify(table)]});
        let answer = session.dynamodb("TransactWriteItems", &writes);
        assert_eq!(permits(&answer), is_allowed, "{table}: {answer}");
    }
    let session = &DEPLOYED["api-conversations"].session;
    for (second, is_allowed) in [("T#a#MSG#2", true), ("T#a#REF#telegram#2", false)] {
        let keys = json!([key("T#a#MSG#1"), key(second)]);
        let batch = json!({"RequestItems": {&*tables["messaging"]: {"Keys": keys}}});
        let answer = session.dynamodb("BatchGetItem", &batch);
        assert_eq!(permits(&answer), is_allowed, "{second}: {answer}");
    }
}
