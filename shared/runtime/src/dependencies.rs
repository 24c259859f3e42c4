//! Types behind the ports of a function: one set in production, another in tests.

use std::marker::PhantomData;

use domain::ports::{
    Archive, ChangeVisibility, ClaimCheck, Clock, CredentialReader, CredentialWriter, EventBodies,
    EventBodyReader, MediaStore, Publisher, Resolver, Rng,
};
use queue::{Bucket, SqsQueue};

use crate::transport::{Transport, WebhookClient};
use crate::{CredentialStore, HttpClient, Network, SystemClock, SystemRng};

/// Types that implement the ports which every feature needs. A handler or an API resource has one
/// parameter `E: Env` instead of one for each port.
pub trait Env: Send + Sync + 'static {
    /// Clock.
    type Clock: Clock + Clone + 'static;
    /// Random number generator.
    type Rng: Rng + Clone + 'static;
    /// Queue.
    type Queue: Publisher + ChangeVisibility + 'static;
    /// Bucket of large bodies, raw events and media.
    type Bucket: Archive + ClaimCheck + EventBodies + EventBodyReader + MediaStore + 'static;
    /// Credential store.
    type Credentials: CredentialReader + CredentialWriter + 'static;
    /// HTTP client for providers.
    type HttpClient: HttpClient + 'static;
    /// Webhook client.
    type WebhookClient: WebhookClient + 'static;
    /// DNS resolver for the hosts of URLs that tenants set.
    type Resolver: Resolver + 'static;
}

/// Types whose queues, bucket and credentials are those of AWS. A [`Kit`](crate::Kit) creates their
/// values.
pub trait AwsEnv:
    Env<Queue = SqsQueue, Bucket = Bucket, Credentials = CredentialStore<<Self as Env>::Clock>>
{
    /// Network access other than AWS.
    type Network: Network<
            HttpClient = <Self as Env>::HttpClient,
            WebhookClient = <Self as Env>::WebhookClient,
            Resolver = <Self as Env>::Resolver,
        >;
}

/// Types of the deployed functions. A simulation replaces the network, the clock and the random
/// number generator.
#[derive(Clone, Copy, Debug)]
pub struct Production<N = Transport, C = SystemClock, R = SystemRng>(PhantomData<(N, C, R)>);

impl<N, C, R> Env for Production<N, C, R>
where
    N: Network,
    C: Clock + Clone + 'static,
    R: Rng + Clone + 'static,
{
    type Clock = C;
    type Rng = R;
    type Queue = SqsQueue;
    type Bucket = Bucket;
    type Credentials = CredentialStore<C>;
    type HttpClient = N::HttpClient;
    type WebhookClient = N::WebhookClient;
    type Resolver = N::Resolver;
}

impl<N, C, R> AwsEnv for Production<N, C, R>
where
    N: Network,
    C: Clock + Clone + 'static,
    R: Rng + Clone + 'static,
{
    type Network = N;
}
