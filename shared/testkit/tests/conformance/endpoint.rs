//! The systems that the cases run against: the model of AWS, or the local cloud.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::cloud::Refusal;
use testkit::cloud::dynamo::Dynamo;
use testkit::cloud::kms::Kms;
use testkit::cloud::s3::{Object, S3};
use testkit::cloud::secrets::Secrets;
use testkit::cloud::sqs::{NoChaos, Sqs};

/// The service that a request addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `DynamoDB`.
    Dynamo,
    /// SQS.
    Sqs,
    /// Secrets Manager.
    Secrets,
    /// KMS.
    Kms,
}

/// The model or the local cloud.
pub(crate) trait Endpoint {
    /// Sends one request in the JSON protocol.
    fn call(&self, service: Service, operation: &str, body: &Value) -> Result<Value, Refusal>;

    /// Waits: moves the model's clock, or sleeps.
    fn wait(&self, by: Duration);

    /// A name that no other case uses.
    fn fresh_name(&self) -> String;

    /// Uploads an object to a bucket.
    fn put_object(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<(), Refusal>;

    /// Downloads an object from a bucket.
    fn get_object(&self, bucket: &str, key: &str) -> Result<Object, Refusal>;

    /// Creates a bucket, and returns its name.
    fn fresh_bucket(&self) -> String;

    /// Creates a queue with these attributes, and returns its URL. It is a FIFO queue if the
    /// attributes say so.
    #[track_caller]
    fn fresh_queue(&self, attributes: &[(&str, &str)]) -> String {
        let fifo = attributes.contains(&("FifoQueue", "true"));
        let name = format!("{}{}", self.fresh_name(), if fifo { ".fifo" } else { "" });
        let attributes: serde_json::Map<String, Value> =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let asked = json!({"QueueName": name, "Attributes": attributes});
        let answer = self.call(Service::Sqs, "CreateQueue", &asked).unwrap();
        answer["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// Creates a table like the hub's, with the keys `pk` and `sk` and the index `by_parent`, and
    /// returns its name.
    #[track_caller]
    fn fresh_table(&self) -> String {
        let name = self.fresh_name();
        let key = |partition: &str, sort: &str| {
            json!([{"AttributeName": partition, "KeyType": "HASH"},
                   {"AttributeName": sort, "KeyType": "RANGE"}])
        };
        let names = ["pk", "sk", "gsi1pk", "gsi1sk"];
        let texts = names.map(|name| json!({"AttributeName": name, "AttributeType": "S"}));
        let asked = json!({
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": key("pk", "sk"),
            "AttributeDefinitions": texts,
            "GlobalSecondaryIndexes": [{
                "IndexName": "by_parent",
                "KeySchema": key("gsi1pk", "gsi1sk"),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }],
        });
        self.call(Service::Dynamo, "CreateTable", &asked).unwrap();
        name
    }
}

/// The model. Its clock moves only in [`Endpoint::wait`].
pub(crate) struct Model {
    now_ms: Cell<i64>,
    names: Cell<u64>,
    dynamo: RefCell<Dynamo>,
    sqs: RefCell<Sqs>,
    secrets: RefCell<Secrets>,
    kms: RefCell<Kms>,
    s3: RefCell<S3>,
}

impl Model {
    /// An empty model.
    pub(crate) fn new() -> Self {
        Self {
            now_ms: Cell::new(1_700_000_000_000),
            names: Cell::new(0),
            dynamo: RefCell::default(),
            sqs: RefCell::default(),
            secrets: RefCell::default(),
            kms: RefCell::default(),
            s3: RefCell::default(),
        }
    }
}

impl Endpoint for Model {
    fn call(&self, service: Service, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let now_ms = self.now_ms.get();
        match service {
            Service::Dynamo => self.dynamo.borrow_mut().call(operation, body, now_ms),
            Service::Sqs => self.sqs.borrow_mut().call(operation, body, now_ms, &mut NoChaos),
            Service::Secrets => self.secrets.borrow_mut().call(operation, body, now_ms),
            Service::Kms => self.kms.borrow_mut().call(operation, body),
        }
    }

    fn wait(&self, by: Duration) {
        self.now_ms.set(self.now_ms.get() + i64::try_from(by.as_millis()).unwrap());
    }

    fn fresh_name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("case-{}", self.names.get())
    }

    fn put_object(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        self.s3.borrow_mut().put(bucket, key, content_type, bytes.to_vec())
    }

    fn get_object(&self, bucket: &str, key: &str) -> Result<Object, Refusal> {
        self.s3.borrow_mut().get(bucket, key).cloned()
    }

    fn fresh_bucket(&self) -> String {
        let name = self.fresh_name();
        self.s3.borrow_mut().create_bucket(&name);
        name
    }
}

/// A known difference between the local cloud and AWS's documentation. The model follows AWS.
pub(crate) struct Difference {
    /// The case that fails on the local cloud.
    pub(crate) case: &'static str,
    /// AWS's documentation of the behaviour.
    pub(crate) source: &'static str,
    /// A test of the local cloud's behaviour. It fails once the local cloud is corrected.
    pub(crate) instead: fn(&dyn Endpoint),
}

/// Declares the tests of a suite: each case on the model, and on the local cloud with the feature
/// `emulator`, where a case of `KNOWN_DIFFERENCES` is replaced by the test of the known behaviour.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod on_the_model {
            $(
                #[test]
                fn $case() {
                    super::$case(&crate::endpoint::Model::new());
                }
            )*

            #[test]
            fn every_known_difference_refers_to_a_case_and_has_a_source() {
                let cases = [$(stringify!($case)),*];
                for difference in super::KNOWN_DIFFERENCES {
                    let crate::endpoint::Difference { case, source, instead } = difference;
                    assert!(cases.contains(case), "the case {case} does not exist");
                    let of_aws = ["https://docs.aws.amazon.com/", "https://repost.aws/knowledge-center/"];
                    assert!(of_aws.iter().any(|start| source.starts_with(start)), "{case}: {source}");
                    // The model follows AWS.
                    let model = crate::endpoint::Model::new();
                    let run = std::panic::AssertUnwindSafe(|| instead(&model));
                    assert!(std::panic::catch_unwind(run).is_err(), "{case}: the model behaves like the local cloud");
                }
            }
        }

        #[cfg(feature = "emulator")]
        mod on_the_local_cloud {
            $(
                #[test]
                fn $case() {
                    let known = super::KNOWN_DIFFERENCES;
                    let known = known.iter().find(|known| known.case == stringify!($case));
                    let run = known.map_or(super::$case as fn(&dyn crate::endpoint::Endpoint), |known| known.instead);
                    run(&crate::emulator::Emulator);
                }
            )*
        }
    };
}

pub(crate) use cases;
