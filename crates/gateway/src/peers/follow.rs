//! Listens to one other gateway for as long as it is polled: opens its feed, reads it line by line, and opens it again when it has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::time::{sleep, timeout};

use super::frame::{BadFrame, Frame, Hello, Lines, VERSION};
use super::naming::{difference, naming};
use super::shown::State;
use super::table::Known;
use super::{Peers, feed};
use crate::config::WorkerUrl;
use crate::sources::bearer;
use crate::upstream::{Incoming, Upstream, UpstreamError};

/// One that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(3);
const _: () = assert!(PATIENCE.as_millis() >= 2 * feed::SIGN_OF_LIFE.as_millis());
/// How soon a feed that has ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// And one that said who is heard already: that other address would have to fall silent first.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// As much is read of what is said instead of a feed.
const MOST_SAID: usize = 16 * 1024;

/// Why a feed is not listened to, or no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{0}")]
    Unreachable(UpstreamError),
    #[error("nothing came for {} s", PATIENCE.as_secs())]
    Silent,
    #[error("its feed has ended")]
    Over,
    #[error(
        "it refuses the key: {0}; hint: set peers_key to env:NAME of a key with `admin` in its keys_file"
    )]
    Key(String),
    #[error("it answers {0} instead of a feed: {1}")]
    NoFeed(StatusCode, String),
    #[error("{0}; hint: both should run the same release")]
    Garbled(#[from] BadFrame),
    #[error("it speaks version {0} and this gateway {VERSION}; hint: both should run the same release")]
    Version(u32),
    #[error("its first line does not say who it is")]
    Nameless,
    #[error("it is this gateway itself")]
    Own,
    #[error("it is heard by another address already")]
    Heard,
}

/// Listens to whoever is at an address.
pub(super) struct Follower {
    pub(super) peers: Arc<Peers>,
    pub(super) upstream: Upstream,
    pub(super) url: WorkerUrl,
}

impl Follower {
    /// Never ends by itself.
    pub(super) async fn follow(self) {
        loop {
            let end = match self.open().await {
                Ok(answer) => self.listen(answer).await,
                Err(end) => end,
            };
            self.peers.shown.ended(&self.url, &end);
            match end {
                // For as long as both live nobody else can be there.
                End::Own => return std::future::pending().await,
                End::Heard => sleep(LONG_PAUSE).await,
                _ => sleep(PAUSE).await,
            }
        }
    }

    async fn open(&self) -> Result<Response<Incoming>, End> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.peers.config.now().peers_key.0 {
            headers.insert(AUTHORIZATION, HeaderValue::clone(&bearer(key.key())));
        }
        let asked = self.upstream.get(&self.url, "/peers/feed", &headers);
        let answer = timeout(PATIENCE, asked).await.map_err(|_| End::Silent)?.map_err(End::Unreachable)?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let said = timeout(PATIENCE, Limited::new(answer.into_body(), MOST_SAID).collect()).await;
        let said = said.ok().and_then(Result::ok).map(|said| message(&said.to_bytes())).unwrap_or_default();
        match status {
            // What a client would do about it is not what a gateway does.
            StatusCode::UNAUTHORIZED => {
                Err(End::Key(said.split("; hint:").next().unwrap_or_default().to_owned()))
            }
            _ => Err(End::NoFeed(status, said)),
        }
    }

    /// Reads a feed to its end, whatever that is.
    async fn listen(&self, answer: Response<Incoming>) -> End {
        let mut reading = Reading { body: answer.into_body(), lines: Lines::default() };
        let (hello, first) = match reading.next().await {
            Ok(Frame { hello: Some(hello), .. }) if hello.version != VERSION => {
                return End::Version(hello.version);
            }
            Ok(mut first) => match first.hello.take() {
                Some(hello) => (hello, first),
                None => return End::Nameless,
            },
            Err(end) => return end,
        };
        match self.peers.enter(hello.gateway) {
            Ok(_heard) => self.hear(&hello, first, reading).await,
            Err(Known::Own) => End::Own,
            Err(Known::Heard) => End::Heard,
        }
    }

    async fn hear(&self, hello: &Hello, mut frame: Frame, mut reading: Reading) -> End {
        let difference = difference(&naming(&self.peers.config.now()), &hello.naming);
        let same_names = difference.is_none();
        self.peers.shown.set(&self.url, State::Heard { gateway: hello.gateway, difference });
        loop {
            self.peers.hear(hello.gateway, &frame, same_names);
            frame = match reading.next().await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
        }
    }
}

/// A feed that is being read.
struct Reading {
    body: Incoming,
    lines: Lines,
}

impl Reading {
    async fn next(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = self.lines.next()? {
                return Ok(frame);
            }
            match timeout(PATIENCE, self.body.frame()).await {
                Err(_) => return Err(End::Silent),
                Ok(None) => return Err(End::Over),
                Ok(Some(Err(error))) => return Err(End::Unreachable(error)),
                Ok(Some(Ok(piece))) => piece.data_ref().into_iter().for_each(|piece| self.lines.push(piece)),
            }
        }
    }
}

/// What an error of ours says, or of whoever else is there.
fn message(body: &Bytes) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let told = json.as_ref().and_then(|json| json.pointer("/error/message")?.as_str());
    let told = told.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    told.chars().take(200).collect()
}
