//! Rate limits of the API: what a limiter decides, and the headers that show it.
//!
//! The headers are those of the last draft with three fields:
//! <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-06>.

use domain::tenant::Scope;
use domain::{KeyId, TenantId};
use http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use http::{Method, StatusCode};

use super::Problem;

/// Class of a request. Each class has its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestClass {
    /// Reads.
    Reads,
    /// Changes of settings, and everything that is in no other class.
    Writes,
    /// Messages: sent to customers, or submitted as inbound.
    Messages,
    /// Requests of workers to the job queue.
    Worker,
}

impl RequestClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Reads, Self::Writes, Self::Messages, Self::Worker];

    /// Returns the class of a route with this method and scope.
    #[must_use]
    pub fn of(method: &str, scope: Option<Scope>) -> Self {
        match scope {
            Some(Scope::Worker) => Self::Worker,
            _ if method == Method::GET.as_str() => Self::Reads,
            Some(Scope::Send | Scope::Ingest) => Self::Messages,
            Some(Scope::Admin | Scope::Read) | None => Self::Writes,
        }
    }

    /// Returns the name that settings and keys of the table use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Messages => "messages",
            Self::Worker => "worker",
        }
    }
}

/// State of the limit that is closest to being exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Number of requests permitted in a minute.
    pub limit: u32,
    /// Number of requests left in this minute.
    pub remaining: u32,
    /// Seconds until the next minute begins.
    pub reset: u32,
    /// Class of the requests.
    pub class: RequestClass,
}

/// Decision of a rate limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The request has no limit, or the limiter could not check it.
    Unlimited,
    /// The request is within its limit.
    Granted(RateLimit),
    /// The request exceeds its limit.
    Refused(RateLimit),
}

/// Limits the requests of API keys and tenants.
pub trait RateLimiter: Send + Sync {
    /// Takes a permit for one request of a key. A failure of the limiter never refuses a request.
    fn take(
        &self,
        tenant: &TenantId,
        key: KeyId,
        class: RequestClass,
    ) -> impl Future<Output = Permit> + Send;
}

/// The limiter of a resource without limits.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

impl RateLimiter for Unlimited {
    async fn take(&self, _tenant: &TenantId, _key: KeyId, _class: RequestClass) -> Permit {
        Permit::Unlimited
    }
}

impl Permit {
    /// Returns 429 if the request was refused.
    pub(super) fn refusal(self) -> Option<Problem> {
        let Self::Refused(RateLimit { limit, reset, class, .. }) = self else { return None };
        let detail = format!(
            "the limit of {limit} requests a minute of the class `{}` is reached: send the request \
             again in {reset} seconds; GET /tenants/{{tenant}}/limits shows the limits, which the \
             operator can raise",
            class.as_str()
        );
        let (status, title) = (StatusCode::TOO_MANY_REQUESTS, "Too many requests");
        Some(Problem::new(status, "rate_limited", title, detail))
    }

    /// Adds the headers that show the limit.
    pub(super) fn add_headers(self, headers: &mut HeaderMap) {
        let state = match self {
            Self::Unlimited => return,
            Self::Granted(state) => state,
            Self::Refused(state) => {
                headers.insert(RETRY_AFTER, state.reset.into());
                state
            }
        };
        let mut set =
            |name, value: u32| headers.insert(HeaderName::from_static(name), value.into());
        set("ratelimit-limit", state.limit);
        set("ratelimit-remaining", state.remaining);
        set("ratelimit-reset", state.reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_workers_have_classes_of_their_own() {
        for (method, scope, class) in [
            ("GET", Some(Scope::Read), RequestClass::Reads),
            ("GET", Some(Scope::Admin), RequestClass::Reads),
            ("GET", None, RequestClass::Reads),
            ("PUT", Some(Scope::Admin), RequestClass::Writes),
            ("DELETE", Some(Scope::Admin), RequestClass::Writes),
            ("POST", None, RequestClass::Writes),
            ("POST", Some(Scope::Send), RequestClass::Messages),
            ("POST", Some(Scope::Ingest), RequestClass::Messages),
            ("GET", Some(Scope::Worker), RequestClass::Worker),
            ("POST", Some(Scope::Worker), RequestClass::Worker),
        ] {
            assert_eq!(RequestClass::of(method, scope), class, "{method} {scope:?}");
        }
    }

    #[test]
    fn every_answer_shows_the_limit_and_a_refusal_when_to_try_again() {
        let class = RequestClass::Writes;
        let state = RateLimit { limit: 100, remaining: 0, reset: 17, class };
        let shown = |permit: Permit| {
            let mut headers = HeaderMap::new();
            permit.add_headers(&mut headers);
            let names =
                ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
            names.map(|name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
        };
        let some = |text: &str| Some(text.to_owned());
        let with = |retry| [some("100"), some("0"), some("17"), retry];
        assert_eq!(shown(Permit::Granted(state)), with(None));
        assert_eq!(shown(Permit::Refused(state)), with(some("17")));
        assert_eq!(shown(Permit::Unlimited), [const { None }; 4]);
        let problem = Permit::Refused(state).refusal().unwrap();
        assert_eq!((problem.status.as_u16(), problem.code.as_str()), (429, "rate_limited"));
        assert!(problem.detail.contains("100") && problem.detail.contains("`writes`"));
        assert_eq!(Permit::Granted(state).refusal(), None);
    }
}
