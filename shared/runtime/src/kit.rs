//! Dependencies of a function. Each function's module builds its parts from a kit, so that the same
//! parts run on Lambda and in a simulation.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use aws_types::SdkConfig;
use domain::Retention;
use domain::ports::Resolver;

use crate::transport::{Dns, GuardedHttpClient, SdkClient, Transport, WebhookClient};
use crate::{
    AwsEnv, CredentialSettings, CredentialStore, Error, FeatureRepository, HttpClient, Production,
    SystemClock, SystemRng, env, transport,
};

/// Environment variables of a function.
#[derive(Clone, Debug)]
pub enum Environment {
    /// Environment of the process.
    Process,
    /// Only these variables.
    Given(BTreeMap<String, String>),
}

impl Environment {
    /// Returns the variable `name`, if it is set and not empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        match self {
            Self::Process => env::optional(name),
            Self::Given(variables) => variables.get(name).filter(|v| !v.is_empty()).cloned(),
        }
    }

    /// Returns the variable `name`.
    ///
    /// # Errors
    /// If it is missing or empty; the error names it.
    pub fn var(&self, name: &str) -> Result<String, Error> {
        self.optional(name).ok_or_else(|| env::missing(name))
    }
}

/// Network access other than AWS.
pub trait Network: Clone + Send + Sync + 'static {
    /// HTTP client for providers.
    type HttpClient: HttpClient + 'static;
    /// Webhook client.
    type WebhookClient: WebhookClient + 'static;
    /// DNS resolver for the hosts of URLs that tenants set.
    type Resolver: Resolver + 'static;

    /// Returns the client for requests with small responses.
    fn http_client(&self) -> Self::HttpClient;

    /// Returns the client for media downloads.
    fn file_http_client(&self) -> Self::HttpClient;

    /// Returns the client for URLs that tenants set. `allow_http` also permits URLs without TLS.
    ///
    /// # Errors
    /// If the TLS library rejects its own defaults.
    fn webhook_client(&self, allow_http: bool) -> Result<Self::WebhookClient, Error>;

    /// Returns the DNS resolver.
    fn resolver(&self) -> Self::Resolver;
}

impl Network for Transport {
    type HttpClient = Self;
    type WebhookClient = GuardedHttpClient;
    type Resolver = Dns;

    fn http_client(&self) -> Self {
        self.clone()
    }

    fn file_http_client(&self) -> Self {
        self.clone().for_files()
    }

    fn webhook_client(&self, allow_http: bool) -> Result<GuardedHttpClient, Error> {
        GuardedHttpClient::new(allow_http)
    }

    fn resolver(&self) -> Dns {
        Dns
    }
}

/// Dependencies of a function.
#[derive(Clone, Debug)]
pub struct Kit<E: AwsEnv = Production> {
    /// Configuration of the AWS clients.
    pub aws: SdkConfig,
    /// Environment variables, with the names of tables, queues and buckets.
    pub environment: Environment,
    /// Network access other than AWS.
    pub network: E::Network,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for jitter, ids and keys.
    pub rng: E::Rng,
    // Created once.
    queues: OnceCell<queue::Queues>,
    tables: OnceCell<table::Tables>,
    bucket: OnceCell<queue::Bucket>,
}

impl Kit {
    /// Returns the kit of this process.
    pub(crate) fn of_process() -> Result<Self, Error> {
        Self::of(Environment::Process)
    }

    /// Returns a kit with this environment and production dependencies.
    pub(crate) fn of(environment: Environment) -> Result<Self, Error> {
        let tls = transport::tls()?;
        let network = Transport::over(tls.clone())?;
        let aws = crate::aws::config(&environment, SdkClient::over(tls))?;
        Ok(Self::new(aws, environment, network, SystemClock, SystemRng))
    }
}

impl<E: AwsEnv> Kit<E> {
    /// Creates a kit.
    pub fn new(
        aws: SdkConfig,
        environment: Environment,
        network: E::Network,
        clock: E::Clock,
        rng: E::Rng,
    ) -> Self {
        let (queues, tables, bucket) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { aws, environment, network, clock, rng, queues, tables, bucket }
    }

    /// Returns the variable `name`.
    ///
    /// # Errors
    /// If it is missing or empty.
    pub fn var(&self, name: &str) -> Result<String, Error> {
        self.environment.var(name)
    }

    /// Returns whether tenants are trusted like the operator, and URLs may be without TLS, as on the
    /// operator's own machine.
    #[must_use]
    pub fn skip_tenant_checks(&self) -> bool {
        self.environment.optional("TRUST_TENANTS").is_some()
    }

    /// Returns the repository of a feature. The variables with the names of tables are
    /// `ACCOUNTS_TABLE_NAME` and so on; those with the retention of their items, in days, are
    /// `EVENTS_RETENTION_DAYS` and so on, and optional.
    ///
    /// # Errors
    /// If the variable with the name of its table is missing or empty, or if the retention is not a
    /// number of days.
    pub fn repository<R: FeatureRepository>(&self) -> Result<R, Error> {
        R::new(&|feature| Ok(self.table(feature)?.with_retention(self.retention(feature)?)))
    }

    /// Returns the table whose name is in the variable that `owner` names.
    fn table(&self, owner: &str) -> Result<table::Table, Error> {
        let tables = self.tables.get_or_init(|| table::Tables::new(&self.aws));
        Ok(tables.table(self.var(&format!("{}_TABLE_NAME", owner.to_uppercase()))?))
    }

    fn retention(&self, feature: &str) -> Result<Option<Retention>, Error> {
        let variable = format!("{}_RETENTION_DAYS", feature.to_uppercase());
        let days = self.environment.optional(&variable);
        let retention = days.as_deref().map(str::parse::<Retention>).transpose();
        retention.map_err(|error| {
            format!("the environment variable {variable} must be a number of days: {error}").into()
        })
    }

    /// Returns the bucket.
    ///
    /// # Errors
    /// If its variable is missing or empty.
    pub fn bucket(&self) -> Result<queue::Bucket, Error> {
        if let Some(bucket) = self.bucket.get() {
            return Ok(bucket.clone());
        }
        let bucket = queue::Bucket::new(&self.aws, self.var("BUCKET_NAME")?);
        Ok(self.bucket.get_or_init(|| bucket).clone())
    }

    /// Returns the queue whose URL is in the variable `name`. Records too large for it go to
    /// `bucket`.
    ///
    /// # Errors
    /// If the variable is missing or empty.
    pub fn queue(
        &self,
        name: &str,
        bucket: Option<&queue::Bucket>,
    ) -> Result<queue::SqsQueue, Error> {
        Ok(self.queue_at(self.var(name)?, bucket))
    }

    /// Returns the queue at `url`. Records too large for it go to `bucket`.
    #[must_use]
    pub fn queue_at(&self, url: String, bucket: Option<&queue::Bucket>) -> queue::SqsQueue {
        let queues = self.queues.get_or_init(|| queue::Queues::new(&self.aws));
        queues.queue(url, bucket.cloned())
    }

    /// Returns the credential store. `CREDENTIAL_STORE` says where it writes; if the variable is
    /// missing, in Secrets Manager.
    ///
    /// # Errors
    /// If one of the other variables is missing or empty, or if that one is not a place.
    pub fn credential_store(&self) -> Result<CredentialStore<E::Clock>, Error> {
        let place = self.environment.optional("CREDENTIAL_STORE");
        let place = place.as_deref().map(str::parse).transpose();
        let settings = CredentialSettings {
            place: place.map_err(|error| format!("CREDENTIAL_STORE: {error}"))?.unwrap_or_default(),
            prefix: self.var("SECRETS_PREFIX")?,
            key_arn: self.var("CREDENTIALS_KEY_ARN")?,
        };
        let table = self.table("credentials")?;
        Ok(CredentialStore::new(&self.aws, settings, table, self.clock.clone()))
    }
}
