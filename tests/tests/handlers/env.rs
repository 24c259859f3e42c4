//! Types behind the ports in the handler tests: fakes with state and rules.

use std::marker::PhantomData;

use domain::ports::{CredentialReader, CredentialWriter};
use runtime::{Env, HttpClient};
use testkit::{FakeBucket, FakeClock, FakeCredentials, FakeQueue, SeededRng};

use crate::addresses::FakeResolver;
use crate::common::{FakeProvider, FakeReceiver};

/// Fakes behind every port; `H` is the provider that answers requests, and `C` the credential store.
pub(crate) struct TestEnv<H = FakeProvider, C = FakeCredentials>(PhantomData<(H, C)>);

impl<H, C> Env for TestEnv<H, C>
where
    H: HttpClient + 'static,
    C: CredentialReader + CredentialWriter + 'static,
{
    type Clock = FakeClock;
    type Rng = SeededRng;
    type Queue = FakeQueue;
    type Bucket = FakeBucket;
    type Credentials = C;
    type HttpClient = H;
    type WebhookClient = FakeReceiver;
    type Resolver = FakeResolver;
}
