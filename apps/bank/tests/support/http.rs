//! HTTP in its plainest form: so that a test says exactly what goes over the wire, and when.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long to wait for an answer.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A request that has been sent, or the beginning of it.
#[derive(Debug)]
pub(crate) struct Underway {
    stream: TcpStream,
}

impl Underway {
    /// Sends these bytes to the service at this address, on a connection of their own.
    pub(crate) fn send(address: &str, bytes: &[u8]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut underway = Self { stream };
        underway.send_more(bytes);
        underway
    }

    pub(crate) fn send_more(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads the answer, to the end of the connection.
    pub(crate) fn answer(mut self) -> Answer {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }
}

/// The bytes of a request, after which the service closes the connection.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bank\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn get(address: &str, path: &str) -> Answer {
    Underway::send(address, &request("GET", path, "", "")).answer()
}

pub(crate) fn post(address: &str, path: &str, body: &str) -> Answer {
    Underway::send(address, &request("POST", path, "", body)).answer()
}

/// The body of an order.
pub(crate) fn order(payer: i64, payee: i64, amount: i64) -> String {
    format!(r#"{{"payer": {payer}, "payee": {payee}, "amount": {amount}}}"#)
}

/// Sends an order but for its end. The order is for 5 cents from account 1 to account 2; the rest comes along.
pub(crate) fn begin_order(address: &str) -> (Underway, Vec<u8>) {
    let mut most = request("POST", "/transfers", "", &order(1, 2, 5));
    let rest = most.split_off(most.len() - 10);
    (Underway::send(address, &most), rest)
}
