//! One connection: frames come in, are answered, and answers go out in the order of the requests.
//!
//! Requests are handled one after the other, as Apache Kafka does; only the wait for the disk overlaps with the next requests. A frame is
//! a length of four bytes and a request: <https://kafka.apache.org/protocol#protocol_common>.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::broker::Shared;
use crate::dispatch::{self, Refused};

/// Answers that may wait for the disk before the next request is read.
const ANSWERS_WAITING_MAX: usize = 16;
/// Room made in the buffer at once; larger frames make it grow as their bytes come in.
const READ_BYTES: usize = 64 * 1024;

/// An answer, with its length in front, or nothing for a request that wants none.
pub(crate) type Frame = Vec<u8>;

/// The answer to a request.
pub(crate) enum Reply {
    /// The request wants none.
    None,
    Ready(Frame),
    /// Comes later; later requests are handled meanwhile.
    Later(Pin<Box<dyn Future<Output = Frame> + Send>>),
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// Serves a connection until the client ends it, sends nonsense, or the broker stops.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, stop: &CancellationToken) {
    let Ok(local) = stream.local_addr() else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "small answers may be delayed");
    }
    let (reader, writer) = stream.into_split();
    let (sender, receiver) = mpsc::channel(ANSWERS_WAITING_MAX);
    let both = async {
        let read = read_to_the_end(reader, Ends { local, peer }, shared, sender);
        tokio::join!(read, write_answers(writer, receiver)).1
    };
    let Some(written) = stop.run_until_cancelled(both).await else { return };
    if let Err(error) = written {
        tracing::debug!(%peer, %error, "the client went away before it had its answer");
    }
}

/// Reads until the client is done or sends nonsense, which is counted before the client sees its connection close: the writing half ends
/// with the last `answers`.
async fn read_to_the_end(reader: OwnedReadHalf, ends: Ends, shared: &Arc<Shared>, answers: mpsc::Sender<Reply>) {
    if let Err(closed) = read_requests(reader, ends, shared, &answers).await {
        shared.metrics.requests_malformed.add(1);
        tracing::warn!(peer = %ends.peer, reason = %closed, "the connection is closed");
    }
}

async fn read_requests(
    mut reader: OwnedReadHalf,
    ends: Ends,
    shared: &Arc<Shared>,
    answers: &mpsc::Sender<Reply>,
) -> Result<(), Refused> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    while let Some(frame) = read_frame(&mut reader, &mut buffer, shared.options.request_bytes_max).await? {
        shared.metrics.requests.add(1);
        // Once an answer couldn't be written nobody waits for this one either.
        let reply = tokio::select! {
            reply = dispatch::handle(shared, ends, frame) => reply?,
            () = answers.closed() => return Ok(()),
        };
        if !matches!(reply, Reply::None) && answers.send(reply).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The next request; `None` when the client is done.
async fn read_frame(
    reader: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    size_max: usize,
) -> Result<Option<Bytes>, Refused> {
    loop {
        let missing = match buffer.first_chunk() {
            None => READ_BYTES,
            Some(length) => {
                let length = i32::from_be_bytes(*length);
                let size = usize::try_from(length).ok().filter(|size| *size <= size_max);
                let size = size.ok_or(Refused::Size { size: length, limit: size_max })?;
                if buffer.len() >= size + 4 {
                    let mut frame = buffer.split_to(size + 4);
                    bytes::Buf::advance(&mut frame, 4);
                    return Ok(Some(frame.freeze()));
                }
                size + 4 - buffer.len()
            }
        };
        // The length is only a claim: room is made as bytes come in.
        buffer.reserve(missing.clamp(1, READ_BYTES.max(buffer.len())));
        match reader.read_buf(buffer).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if is_hang_up(&error) => return Ok(None),
            Err(error) => return Err(Refused::Io(error)),
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::TimedOut)
}

async fn write_answers(mut writer: OwnedWriteHalf, mut answers: mpsc::Receiver<Reply>) -> io::Result<()> {
    while let Some(reply) = answers.recv().await {
        let frame = match reply {
            Reply::None => continue,
            Reply::Ready(frame) => frame,
            Reply::Later(frame) => frame.await,
        };
        writer.write_all(&frame).await?;
    }
    writer.shutdown().await
}
