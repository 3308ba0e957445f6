//! A connection of a pool, in use, and what a pool keeps of it.
//!
//! # Invariants
//! 1. A connection that has ended is replaced within its lease, so that a request that is sent again waits for nobody else.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tenure::{AsyncExit, Outcome};
use tenure_pool::Lease;

use super::error::Cause;
use super::pool::{ClientsStats, Connections, of_get};
use super::requests::request_of;
use super::resend::Resendable;
use super::{Client, ClientError, Connect, Requests, ResponseBody, Stage};

/// A connection of a pool, in use: the resource of [`Clients::get`](super::Clients::get). It derefs to [`Requests`].
///
/// It goes back when this exits, or is dropped. It is lent again if nothing is under way on it; otherwise it is closed.
#[derive(Debug)]
#[must_use = "dropped, the connection goes back to its pool"]
pub struct Pooled {
    lease: Lease<Connections>,
    max_resends: u32,
}

impl Pooled {
    pub(super) fn new(lease: Lease<Connections>, max_resends: u32) -> Self {
        Self { lease, max_resends }
    }

    /// Gets a path of the server, as [`Requests::get`]; sent again within [`max_resends`](super::Pool::max_resends).
    ///
    /// # Errors, cancel safety
    /// As [`send`](Self::send).
    pub async fn get(&mut self, path: &str) -> Result<Response<ResponseBody>, ClientError> {
        self.send(request_of(Method::GET, path, Bytes::new())?).await
    }

    /// Posts to a path of the server, as [`Requests::post`]; sent again within [`max_resends`](super::Pool::max_resends).
    ///
    /// # Errors, cancel safety
    /// As [`send`](Self::send).
    pub async fn post(
        &mut self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<ResponseBody>, ClientError> {
        self.send(request_of(Method::POST, path, body.into())?).await
    }

    /// Sends a request and waits for the head of its response, as [`Requests::send`]; sent again within
    /// [`max_resends`](super::Pool::max_resends).
    ///
    /// # Errors
    /// As [`Requests::send`], of the last attempt; or that of connecting once more.
    ///
    /// # Cancel safety
    /// As [`Requests::send`].
    pub async fn send<B>(&mut self, request: Request<B>) -> Result<Response<ResponseBody>, ClientError>
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + 'static,
    {
        if self.max_resends == 0 {
            return self.lease.client.send(request).await;
        }
        // In a box: it is large, and few requests are to be sent again.
        Box::pin(self.send_again(request)).await
    }

    async fn send_again<B>(&mut self, request: Request<B>) -> Result<Response<ResponseBody>, ClientError>
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + 'static,
    {
        let (mut request, mut resendable) = Resendable::new(request);
        for _ in 0..self.max_resends {
            let failed = match self.lease.client.try_send(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if !(failed.unsent || failed.crossed && resendable.is_idempotent()) {
                return Err(failed.error);
            }
            let Some(again) = resendable.again().await else { return Err(failed.error) };
            (request, resendable) = again;
            self.lease.renew().await?;
            self.lease.stats.counts.resent.fetch_add(1, Ordering::Relaxed);
        }
        self.lease.client.try_send(request).await.map_err(|failed| failed.error)
    }
}

impl Deref for Pooled {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.lease.client
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Requests {
        &mut self.lease.client
    }
}

impl AsyncExit for Pooled {
    type Error = ClientError;

    /// Gives the connection back; this does not wait, and does not fail.
    async fn exit(self, outcome: Outcome<'_>) -> Result<(), ClientError> {
        self.lease.exit(outcome).await.map_err(of_get)
    }
}

/// A connection in a pool.
pub(super) struct Connection {
    client: Client,
    counted: Counted,
    connect: Connect,
    stats: ClientsStats,
}

/// Counts a connection for as long as it is there.
struct Counted(ClientsStats);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Connection {
    pub(super) async fn open(connect: Connect, stats: ClientsStats) -> Result<Self, ClientError> {
        let client = connect.clone().await?;
        stats.counts.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Self { client, counted: Counted(stats.clone()), connect, stats })
    }

    /// Puts a new connection in the place of one that has ended.
    async fn renew(&mut self) -> Result<(), ClientError> {
        let new = Self::open(self.connect.clone(), self.stats.clone()).await?;
        // Its end was told by the request that failed.
        let _ = std::mem::replace(self, new).close(Outcome::Cancelled).await;
        Ok(())
    }

    /// Ends it in order; it counts until then.
    pub(super) async fn close(self, outcome: Outcome<'_>) -> Result<(), ClientError> {
        let Self { client, counted, .. } = self;
        let closed = client.exit(outcome).await;
        drop(counted);
        closed
    }

    pub(super) fn is_reusable(&self) -> bool {
        self.client.is_reusable()
    }

    pub(super) fn as_good_as_new(&self) -> Result<(), ClientError> {
        if self.client.is_reusable() {
            Ok(())
        } else {
            Err(ClientError::new(Stage::Pool, "the connection has ended, or a request on it was broken off"))
        }
    }
}
