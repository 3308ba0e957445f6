//! HTTP/2 frame by frame: for clients and servers that do what no library does.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The head of a request, of fields that need no Huffman code.
pub(crate) fn head(method: &str, path: &str) -> Vec<u8> {
    // :scheme http, and :authority, :path and :method spelled out.
    let mut block = vec![0x86];
    for (index, value) in [(0x01, "test"), (0x04, path), (0x02, method)] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    block
}

/// What a client says first: its preface and its settings.
pub(crate) fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Reads a frame; `None` at the end, or after a reset.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], flags: head[4], stream: id, payload })
}

/// Reads frames until one of this kind comes; acknowledges settings and pings meanwhile.
pub(crate) async fn until(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), kind: u8) -> Option<Frame> {
    loop {
        let read = read(stream).await?;
        if read.flags & ACK == 0 && matches!(read.kind, SETTINGS | PING) {
            let payload = if read.kind == PING { read.payload.clone() } else { Vec::new() };
            stream.write_all(&frame(read.kind, ACK, 0, &payload)).await.ok()?;
        }
        if read.kind == kind {
            return Some(read);
        }
    }
}
