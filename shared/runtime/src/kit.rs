//! What a function is given. Its module makes its parts from a kit, so what runs on Lambda and
//! what runs in a simulation are the same parts.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use aws_types::SdkConfig;
use domain::ports::Resolver;

use crate::sender::Caller;
use crate::transport::{Dns, Messenger, Outside, SdkClient, Transport};
use crate::{Error, SystemClock, SystemDice, env, transport};

/// The environment of a function.
#[derive(Clone, Debug)]
pub enum Environment {
    /// The process's own.
    Process,
    /// These variables and no others.
    Given(BTreeMap<String, String>),
}

impl Environment {
    /// The variable `name`, if it is there and not empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        match self {
            Self::Process => env::optional(name),
            Self::Given(variables) => variables.get(name).filter(|v| !v.is_empty()).cloned(),
        }
    }

    /// The variable `name`.
    ///
    /// # Errors
    /// If it is missing or empty, naming it.
    pub fn var(&self, name: &str) -> Result<String, Error> {
        self.optional(name).ok_or_else(|| env::missing(name))
    }
}

/// The ways out that do not lead to AWS.
pub trait Network: Clone + Send + Sync + 'static {
    /// Calls providers.
    type Caller: Caller + 'static;
    /// Tells automations.
    type Messenger: Messenger + 'static;
    /// Looks up the host names of addresses that tenants give.
    type Resolver: Resolver + 'static;

    /// For small answers.
    fn caller(&self) -> Self::Caller;

    /// For files.
    fn file_caller(&self) -> Self::Caller;

    /// To addresses that tenants choose.
    ///
    /// # Errors
    /// If the TLS library refuses its own defaults.
    fn messenger(&self) -> Result<Self::Messenger, Error>;

    /// For host names.
    fn resolver(&self) -> Self::Resolver;
}

impl Network for Transport {
    type Caller = Self;
    type Messenger = Outside;
    type Resolver = Dns;

    fn caller(&self) -> Self {
        self.clone()
    }

    fn file_caller(&self) -> Self {
        self.clone().for_files()
    }

    fn messenger(&self) -> Result<Outside, Error> {
        Outside::new()
    }

    fn resolver(&self) -> Dns {
        Dns
    }
}

/// What a function is given.
#[derive(Clone, Debug)]
pub struct Kit<N = Transport, C = SystemClock, R = SystemDice> {
    /// How AWS is reached.
    pub aws: SdkConfig,
    /// Names of tables, queues and buckets.
    pub environment: Environment,
    /// How everything else is reached.
    pub network: N,
    /// Clock.
    pub clock: C,
    /// Jitter, ids and keys.
    pub dice: R,
    // Clients are made once.
    queues: OnceCell<queue::Queues>,
    bucket: OnceCell<queue::Bucket>,
}

impl Kit {
    /// The kit of this process.
    pub(crate) fn of_process() -> Result<Self, Error> {
        Self::of(Environment::Process)
    }

    /// The kit of a process with that environment.
    pub(crate) fn of(environment: Environment) -> Result<Self, Error> {
        let tls = transport::tls()?;
        let network = Transport::over(tls.clone())?;
        let aws = crate::aws::config(&environment, SdkClient::over(tls))?;
        Ok(Self::new(aws, environment, network, SystemClock, SystemDice))
    }
}

impl<N, C, R> Kit<N, C, R> {
    /// A kit.
    pub fn new(aws: SdkConfig, environment: Environment, network: N, clock: C, dice: R) -> Self {
        let (queues, bucket) = (OnceCell::new(), OnceCell::new());
        Self { aws, environment, network, clock, dice, queues, bucket }
    }

    /// The variable `name`.
    pub(crate) fn var(&self, name: &str) -> Result<String, Error> {
        self.environment.var(name)
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> Result<queue::Bucket, Error> {
        if let Some(bucket) = self.bucket.get() {
            return Ok(bucket.clone());
        }
        let bucket = queue::Bucket::new(&self.aws, self.var("BUCKET_NAME")?);
        Ok(self.bucket.get_or_init(|| bucket).clone())
    }

    /// DynamoDB table.
    pub(crate) fn store(&self) -> Result<store::DynamoStore, Error> {
        Ok(store::DynamoStore::new(&self.aws, self.var("TABLE_NAME")?))
    }

    /// The queue at the URL in the variable `name`.
    pub(crate) fn queue(
        &self,
        name: &str,
        bucket: Option<&queue::Bucket>,
    ) -> Result<queue::SqsQueue, Error> {
        let queues = self.queues.get_or_init(|| queue::Queues::new(&self.aws));
        Ok(queues.queue(self.var(name)?, bucket.cloned()))
    }
}

impl<N, C: domain::ports::Clock + Clone, R> Kit<N, C, R> {
    /// The vault.
    pub(crate) fn vault(&self) -> Result<crate::vault::SecretsVault<C>, Error> {
        let prefix = self.var("SECRETS_PREFIX")?;
        Ok(crate::vault::SecretsVault::new(&self.aws, prefix, self.clock.clone()))
    }
}
