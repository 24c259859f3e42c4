//! HTTP client port for requests to providers.

use bytes::Bytes;
use domain::sender::SendError;
use http::{Request, Response};

use crate::transport::Transport;

/// HTTP client for requests to providers.
pub trait HttpClient: Send + Sync {
    /// Sends a request and returns the response.
    ///
    /// # Errors
    /// [`SendError::Connect`] if nothing was sent, [`SendError::NoAnswer`] if the provider may have
    /// received the request.
    fn call(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, SendError>> + Send;
}

impl HttpClient for Transport {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        self.send(request).await
    }
}
