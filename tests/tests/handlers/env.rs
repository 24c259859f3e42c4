//! Types behind the ports in the handler tests: fakes with state and rules.

use std::marker::PhantomData;

use runtime::{Env, HttpClient};
use testkit::{FakeBucket, FakeClock, FakeCredentials, FakeQueue, SeededRng};

use crate::addresses::FakeResolver;
use crate::common::{FakeProvider, FakeReceiver};

/// Fakes behind every port; `H` is the provider that answers requests.
pub(crate) struct TestEnv<H = FakeProvider>(PhantomData<H>);

impl<H: HttpClient + 'static> Env for TestEnv<H> {
    type Clock = FakeClock;
    type Rng = SeededRng;
    type Queue = FakeQueue;
    type Bucket = FakeBucket;
    type Credentials = FakeCredentials;
    type HttpClient = H;
    type WebhookClient = FakeReceiver;
    type Resolver = FakeResolver;
}
