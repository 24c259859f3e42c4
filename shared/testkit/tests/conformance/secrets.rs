//! Conformance of secrets.

use serde_json::{Value, json};
use testkit::cloud::Refusal;

use crate::endpoint::{Difference, Endpoint, Service, cases};

fn ask(cloud: &dyn Endpoint, operation: &str, asked: &Value) -> Result<Value, Refusal> {
    cloud.call(Service::Secrets, operation, asked)
}

/// Creates a secret. Returns its name and the answer.
#[track_caller]
fn create(cloud: &dyn Endpoint, text: &str) -> (String, Value) {
    let name = format!("switchboard/acme/{}", cloud.fresh_name());
    let answer = ask(cloud, "CreateSecret", &json!({"Name": name, "SecretString": text})).unwrap();
    (name, answer)
}

#[track_caller]
fn read(cloud: &dyn Endpoint, id: &str) -> String {
    let answer = ask(cloud, "GetSecretValue", &json!({"SecretId": id})).unwrap();
    answer["SecretString"].as_str().unwrap().to_owned()
}

fn code(answer: Result<Value, Refusal>) -> String {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.status, 400, "{refusal:?}");
    refusal.code
}

fn a_secret_is_read_by_its_name_and_by_its_arn(cloud: &dyn Endpoint) {
    let (name, created) = create(cloud, "text");
    assert_eq!(read(cloud, &name), "text");
    assert_eq!(read(cloud, created["ARN"].as_str().unwrap()), "text");
    let answer = ask(cloud, "GetSecretValue", &json!({"SecretId": name})).unwrap();
    assert_eq!(answer["Name"], name);
    assert_eq!(answer["VersionId"], created["VersionId"]);
    assert_eq!(answer["VersionStages"], json!(["AWSCURRENT"]));
}

fn a_missing_secret_is_refused(cloud: &dyn Endpoint) {
    let name = cloud.fresh_name();
    let read = ask(cloud, "GetSecretValue", &json!({"SecretId": name}));
    assert_eq!(code(read), "ResourceNotFoundException");
    let put = ask(cloud, "PutSecretValue", &json!({"SecretId": name, "SecretString": "x"}));
    assert_eq!(code(put), "ResourceNotFoundException");
    let describe = ask(cloud, "DescribeSecret", &json!({"SecretId": name}));
    assert_eq!(code(describe), "ResourceNotFoundException");
}

fn a_secret_name_is_unique(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "text");
    let again = ask(cloud, "CreateSecret", &json!({"Name": name, "SecretString": "other"}));
    assert_eq!(code(again), "ResourceExistsException");
    assert_eq!(read(cloud, &name), "text");
}

fn a_new_version_replaces_the_current_one_which_becomes_previous(cloud: &dyn Endpoint) {
    let (name, created) = create(cloud, "first");
    let asked = json!({"SecretId": name, "SecretString": "second"});
    let put = ask(cloud, "PutSecretValue", &asked).unwrap();
    assert_ne!(put["VersionId"], created["VersionId"]);
    assert_eq!(put["VersionStages"], json!(["AWSCURRENT"]));
    assert_eq!(read(cloud, &name), "second");
    let asked = json!({"SecretId": name, "VersionStage": "AWSPREVIOUS"});
    let previous = ask(cloud, "GetSecretValue", &asked).unwrap();
    assert_eq!(previous["SecretString"], "first");
    assert_eq!(previous["VersionId"], created["VersionId"]);
    let asked = json!({"SecretId": name, "VersionId": created["VersionId"]});
    assert_eq!(ask(cloud, "GetSecretValue", &asked).unwrap()["SecretString"], "first");
}

fn a_missing_version_is_refused(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "first");
    for asked in [
        json!({"SecretId": name, "VersionStage": "AWSPREVIOUS"}),
        json!({"SecretId": name, "VersionId": "00000000-1111-2222-3333-444444444444"}),
    ] {
        assert_eq!(code(ask(cloud, "GetSecretValue", &asked)), "ResourceNotFoundException");
    }
}

const TOKEN: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn a_repeated_write_changes_nothing(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "first");
    let asked = json!({"SecretId": name, "SecretString": "second", "ClientRequestToken": TOKEN});
    for _ in 0..2 {
        let put = ask(cloud, "PutSecretValue", &asked).unwrap();
        assert_eq!(put["VersionId"], TOKEN);
    }
    let asked = json!({"SecretId": name, "VersionStage": "AWSPREVIOUS"});
    assert_eq!(ask(cloud, "GetSecretValue", &asked).unwrap()["SecretString"], "first");
}

fn the_text_of_a_version_cannot_be_changed(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "first");
    let asked =
        |text: &str| json!({"SecretId": name, "SecretString": text, "ClientRequestToken": TOKEN});
    ask(cloud, "PutSecretValue", &asked("second")).unwrap();
    let again = ask(cloud, "PutSecretValue", &asked("third"));
    assert_eq!(code(again), "ResourceExistsException");
    assert_eq!(read(cloud, &name), "second");
}

fn a_repeated_create_is_not_refused(cloud: &dyn Endpoint) {
    let name = cloud.fresh_name();
    let asked = json!({"Name": name, "SecretString": "text", "ClientRequestToken": TOKEN});
    for _ in 0..2 {
        assert_eq!(ask(cloud, "CreateSecret", &asked).unwrap()["VersionId"], TOKEN);
    }
}

fn a_secret_is_described_without_its_text(cloud: &dyn Endpoint) {
    let (name, created) = create(cloud, "hush");
    let answer = ask(cloud, "DescribeSecret", &json!({"SecretId": name})).unwrap();
    assert_eq!(answer["Name"], name);
    assert_eq!(answer["ARN"], created["ARN"]);
    let id = created["VersionId"].as_str().unwrap();
    assert_eq!(answer["VersionIdsToStages"][id], json!(["AWSCURRENT"]));
    assert!(!answer.to_string().contains("hush"));
}

fn a_deleted_secret_is_refused(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "text");
    ask(cloud, "DeleteSecret", &json!({"SecretId": name, "RecoveryWindowInDays": 7})).unwrap();
    let read = ask(cloud, "GetSecretValue", &json!({"SecretId": name}));
    assert_eq!(code(read), "InvalidRequestException");
    let put = ask(cloud, "PutSecretValue", &json!({"SecretId": name, "SecretString": "x"}));
    assert_eq!(code(put), "InvalidRequestException");
    let described = ask(cloud, "DescribeSecret", &json!({"SecretId": name})).unwrap();
    assert!(described["DeletedDate"].is_number(), "{described}");
}

fn the_name_of_a_deleted_secret_is_reserved(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "text");
    ask(cloud, "DeleteSecret", &json!({"SecretId": name})).unwrap();
    let create = ask(cloud, "CreateSecret", &json!({"Name": name, "SecretString": "x"}));
    assert_eq!(code(create), "InvalidRequestException");
}

fn a_secret_can_be_deleted_without_a_recovery_window(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, "text");
    let asked = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
    ask(cloud, "DeleteSecret", &asked).unwrap();
    let read = ask(cloud, "GetSecretValue", &json!({"SecretId": name}));
    assert_eq!(code(read), "ResourceNotFoundException");
}

fn a_text_has_at_most_64_kibibytes(cloud: &dyn Endpoint) {
    let (name, _) = create(cloud, &"x".repeat(65_536));
    let asked = json!({"SecretId": name, "SecretString": "x".repeat(65_537)});
    assert_eq!(code(ask(cloud, "PutSecretValue", &asked)), "ValidationException");
    assert_eq!(read(cloud, &name).len(), 65_536);
}

/// Creates a secret with three versions. Returns its name and the ids of the versions.
#[track_caller]
fn create_versions(cloud: &dyn Endpoint) -> (String, Vec<Value>) {
    let (name, created) = create(cloud, "first");
    let mut ids = vec![created["VersionId"].clone()];
    for text in ["second", "third"] {
        let asked = json!({"SecretId": name, "SecretString": text});
        ids.push(ask(cloud, "PutSecretValue", &asked).unwrap()["VersionId"].clone());
    }
    (name, ids)
}

/// Lists the versions of a secret, in the order of `ids`.
#[track_caller]
fn list(cloud: &dyn Endpoint, name: &str, ids: &[Value], deprecated: bool) -> Vec<Value> {
    let asked = json!({"SecretId": name, "IncludeDeprecated": deprecated});
    let answer = ask(cloud, "ListSecretVersionIds", &asked).unwrap();
    let versions = answer["Versions"].as_array().unwrap();
    assert!(versions.iter().all(|version| version["CreatedDate"].is_number()), "{answer}");
    let mut found: Vec<Value> =
        versions.iter().map(|version| version["VersionId"].clone()).collect();
    found.sort_by_key(|id| ids.iter().position(|known| known == id));
    found
}

fn the_versions_of_a_secret_are_listed_with_their_dates(cloud: &dyn Endpoint) {
    let (name, ids) = create_versions(cloud);
    assert_eq!(list(cloud, &name, &ids, true), ids);
    let missing = ask(cloud, "ListSecretVersionIds", &json!({"SecretId": cloud.fresh_name()}));
    assert_eq!(code(missing), "ResourceNotFoundException");
}

fn versions_without_a_label_are_listed_on_request_only(cloud: &dyn Endpoint) {
    let (name, ids) = create_versions(cloud);
    assert_eq!(list(cloud, &name, &ids, false), ids[1..]);
}

fn the_label_of_the_previous_version_can_be_removed(cloud: &dyn Endpoint) {
    let (name, created) = create(cloud, "first");
    ask(cloud, "PutSecretValue", &json!({"SecretId": name, "SecretString": "second"})).unwrap();
    let asked = json!({"SecretId": name, "VersionStage": "AWSPREVIOUS",
                       "RemoveFromVersionId": created["VersionId"]});
    ask(cloud, "UpdateSecretVersionStage", &asked).unwrap();
    let previous = json!({"SecretId": name, "VersionStage": "AWSPREVIOUS"});
    let read_previous = ask(cloud, "GetSecretValue", &previous);
    assert_eq!(code(read_previous), "ResourceNotFoundException");
    assert_eq!(read(cloud, &name), "second");
    let again = ask(cloud, "UpdateSecretVersionStage", &asked);
    assert_eq!(code(again), "InvalidParameterException");
}

/// A link to the API reference.
macro_rules! reference {
    ($page:literal) => {
        concat!("https://docs.aws.amazon.com/secretsmanager/latest/apireference/", $page)
    };
}

const KNOWN_DIFFERENCES: &[Difference] = &[
    Difference {
        case: "the_versions_of_a_secret_are_listed_with_their_dates",
        source: reference!("API_PutSecretValue.html"),
        // A version without a label is removed at once.
        instead: |cloud| {
            let (name, ids) = create_versions(cloud);
            assert_eq!(list(cloud, &name, &ids, true), ids[1..]);
        },
    },
    Difference {
        case: "a_repeated_write_changes_nothing",
        source: reference!("API_PutSecretValue.html"),
        instead: |cloud| {
            let (name, _) = create(cloud, "first");
            let asked =
                json!({"SecretId": name, "SecretString": "second", "ClientRequestToken": TOKEN});
            for _ in 0..2 {
                ask(cloud, "PutSecretValue", &asked).unwrap();
            }
            let asked = json!({"SecretId": name, "VersionStage": "AWSPREVIOUS"});
            let previous = ask(cloud, "GetSecretValue", &asked);
            assert_eq!(code(previous), "ResourceNotFoundException");
        },
    },
    Difference {
        case: "the_text_of_a_version_cannot_be_changed",
        source: reference!("API_PutSecretValue.html"),
        instead: |cloud| {
            let (name, _) = create(cloud, "first");
            for text in ["second", "third"] {
                let asked =
                    json!({"SecretId": name, "SecretString": text, "ClientRequestToken": TOKEN});
                ask(cloud, "PutSecretValue", &asked).unwrap();
            }
            assert_eq!(read(cloud, &name), "third");
        },
    },
    Difference {
        case: "a_repeated_create_is_not_refused",
        source: reference!("API_CreateSecret.html"),
        instead: |cloud| {
            let name = cloud.fresh_name();
            let asked = json!({"Name": name, "SecretString": "text", "ClientRequestToken": TOKEN});
            assert_ne!(ask(cloud, "CreateSecret", &asked).unwrap()["VersionId"], TOKEN);
            assert_eq!(code(ask(cloud, "CreateSecret", &asked)), "ResourceExistsException");
        },
    },
    Difference {
        case: "the_name_of_a_deleted_secret_is_reserved",
        source: reference!("API_CreateSecret.html"),
        instead: |cloud| {
            let (name, _) = create(cloud, "text");
            ask(cloud, "DeleteSecret", &json!({"SecretId": name})).unwrap();
            let create = ask(cloud, "CreateSecret", &json!({"Name": name, "SecretString": "x"}));
            assert_eq!(code(create), "ResourceExistsException");
        },
    },
    Difference {
        case: "a_text_has_at_most_64_kibibytes",
        source: reference!("API_PutSecretValue.html"),
        instead: |cloud| {
            let (name, _) = create(cloud, &"x".repeat(65_537));
            assert_eq!(read(cloud, &name).len(), 65_537);
        },
    },
];

cases! {
    a_secret_is_read_by_its_name_and_by_its_arn,
    a_missing_secret_is_refused,
    a_secret_name_is_unique,
    a_new_version_replaces_the_current_one_which_becomes_previous,
    a_missing_version_is_refused,
    a_repeated_write_changes_nothing,
    the_text_of_a_version_cannot_be_changed,
    a_repeated_create_is_not_refused,
    a_secret_is_described_without_its_text,
    a_deleted_secret_is_refused,
    the_name_of_a_deleted_secret_is_reserved,
    a_secret_can_be_deleted_without_a_recovery_window,
    a_text_has_at_most_64_kibibytes,
    the_versions_of_a_secret_are_listed_with_their_dates,
    versions_without_a_label_are_listed_on_request_only,
    the_label_of_the_previous_version_can_be_removed,
}
