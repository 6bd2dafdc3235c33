//! The heads of requests and answers as HTTP/1.1 spells them (RFC 9112), and what an answer's head says about where its body ends.

use std::io::Write;
use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::chunked::Chunked;
use super::{Outbound, UpstreamError};

/// Headers of one answer.
const MOST_HEADERS: usize = 128;
/// Bytes of one answer's head.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// Where a body ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// Where its last chunk says so.
    Chunked(Chunked),
    /// With the connection.
    UntilClose,
}

/// What comes after an answer's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) framing: Framing,
    /// Whether the connection may be used again after the body.
    pub(super) reusable: bool,
}

/// Appends the head of a request whose body is whole.
pub(super) fn write(into: &mut Vec<u8>, outbound: &Outbound<'_>) {
    write_lines(into, outbound);
    if outbound.method == Method::GET && outbound.body.is_empty() {
        into.extend_from_slice(b"\r\n");
    } else {
        write!(into, "content-length: {}\r\n\r\n", outbound.body.len()).expect("a Vec takes any bytes");
    }
}

/// Appends the head of a request whose body comes piece by piece, of this length if that is known and in chunks if not.
pub(super) fn write_streamed(into: &mut Vec<u8>, outbound: &Outbound<'_>, length: Option<u64>) {
    write_lines(into, outbound);
    match length {
        Some(length) => write!(into, "content-length: {length}\r\n\r\n").expect("a Vec takes any bytes"),
        None => into.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
    }
}

fn write_lines(into: &mut Vec<u8>, outbound: &Outbound<'_>) {
    let method = outbound.method.as_str().as_bytes();
    let authority = outbound.to.authority().as_str().as_bytes();
    for part in [method, b" ", outbound.path.as_str().as_bytes(), b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    {
        into.extend_from_slice(part);
    }
    if let Some(departure) = outbound.departure {
        departure.announce(into);
    }
    for (name, value) in outbound.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            into.extend_from_slice(part);
        }
    }
}

/// Takes an answer's head off the beginning of `buffer`, if all of it is there. Interim answers are passed over.
pub(super) fn read(buffer: &mut BytesMut, method: &Method) -> Result<Option<(Parts, Ending)>, UpstreamError> {
    while !buffer.is_empty() {
        let Some((length, parts, keeps_alive)) = parse(buffer)? else { break };
        buffer.advance(length);
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Malformed("it switches protocols unasked"));
        }
        if !parts.status.is_informational() {
            let framing = framing(&parts, method)?;
            let reusable = keeps_alive && framing != Framing::UntilClose && !wants_close(&parts.headers);
            return Ok(Some((parts, Ending { framing, reusable })));
        }
    }
    Ok(None)
}

/// A whole head at the beginning of `buffer`: its length, what it says, and whether its version keeps connections open.
fn parse(buffer: &[u8]) -> Result<Option<(usize, Parts, bool)>, UpstreamError> {
    // Four kilobytes, of which an answer mostly needs a few lines: not filled before it is read.
    let mut lines = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut head, buffer, &mut lines) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < MOST_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(UpstreamError::Malformed("its head is too long")),
        Err(_) => return Err(UpstreamError::Malformed("its head cannot be read")),
    };
    let malformed = |_| UpstreamError::Malformed("its head cannot be read");
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(head.code.unwrap_or_default()).map_err(malformed)?;
    parts.headers.reserve(head.headers.len() + ADDED_HEADERS);
    for line in &*head.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| UpstreamError::Malformed("a header's name cannot be read"))?;
        let value = HeaderValue::from_bytes(line.value)
            .map_err(|_| UpstreamError::Malformed("a header's value cannot be read"))?;
        parts.headers.append(name, value);
    }
    Ok(Some((length, parts, head.version == Some(1))))
}

/// Room for what the gateway adds to an answer's head.
const ADDED_HEADERS: usize = 8;

/// RFC 9112 §6.3. What proxies could understand differently is refused: a request might be smuggled in it.
fn framing(parts: &Parts, method: &Method) -> Result<Framing, UpstreamError> {
    if *method == Method::HEAD || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Length(0));
    }
    let lengths = parts.headers.get_all(CONTENT_LENGTH);
    if let Some(coding) = parts.headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if lengths.iter().next().is_some() {
            return Err(UpstreamError::Malformed("it gives both a length and a transfer coding"));
        }
        let last = coding.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if chunked { Framing::Chunked(Chunked::default()) } else { Framing::UntilClose });
    }
    let mut lengths = lengths.iter();
    let Some(first) = lengths.next() else { return Ok(Framing::UntilClose) };
    if lengths.any(|other| other != first) {
        return Err(UpstreamError::Malformed("it gives several lengths"));
    }
    let digits = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok());
    length.map(Framing::Length).ok_or(UpstreamError::Malformed("its length is no number"))
}

fn wants_close(headers: &HeaderMap) -> bool {
    let mut listed =
        headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    listed.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::uri::PathAndQuery;

    use super::*;

    fn ending(head: &str) -> Result<Ending, String> {
        let mut buffer = BytesMut::from(head);
        let read = read(&mut buffer, &Method::POST).map_err(|error| error.to_string())?;
        Ok(read.expect("the head is whole").1)
    }

    fn length(bytes: u64, reusable: bool) -> Result<Ending, String> {
        Ok(Ending { framing: Framing::Length(bytes), reusable })
    }

    #[test]
    fn a_request_is_spelt_as_the_client_sent_it_with_the_workers_name_and_the_bodys_length() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let outbound = Outbound {
            method: Method::POST,
            to: &"http://worker:81".parse().unwrap(),
            path: &PathAndQuery::from_static("/v1/x?y=1"),
            headers: &headers,
            body: &Bytes::from_static(b"{}"),
            fresh: false,
            departure: None,
        };
        let mut head = Vec::new();
        write(&mut head, &outbound);
        assert_eq!(
            head,
            b"POST /v1/x?y=1 HTTP/1.1\r\nhost: worker:81\r\nx-a: 1\r\nx-a: caf\xe9\r\ncontent-length: 2\r\n\r\n"
        );
    }

    #[test]
    fn a_head_is_read_once_all_of_it_is_there_and_what_follows_is_left() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}";
        let end = text.len() - 2;
        for cut in 0..end {
            assert!(read(&mut BytesMut::from(&text[..cut]), &Method::POST).unwrap().is_none(), "{cut}");
        }
        let mut buffer = BytesMut::from(&text[..]);
        let (parts, _) = read(&mut buffer, &Method::POST).unwrap().unwrap();
        assert_eq!((parts.status, &parts.headers["x-a"]), (StatusCode::OK, &HeaderValue::from_static("b")));
        assert_eq!(buffer, "{}");
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(ending(head), length(3, true));
        assert!(read(&mut BytesMut::from("HTTP/1.1 100 Continue\r\n\r\n"), &Method::POST).unwrap().is_none());
    }

    #[test]
    fn the_head_says_where_the_body_ends_and_whether_the_connection_goes_on() {
        assert_eq!(ending("HTTP/1.1 204 x\r\n\r\n"), length(0, true));
        assert_eq!(
            ending("HTTP/1.1 200 x\r\ncontent-length: 5\r\nconnection: x, Close\r\n\r\n"),
            length(5, false)
        );
        assert_eq!(ending("HTTP/1.0 200 x\r\ncontent-length: 5\r\n\r\n"), length(5, false));
        let chunked = Ending { framing: Framing::Chunked(Chunked::default()), reusable: true };
        assert_eq!(ending("HTTP/1.1 200 x\r\ntransfer-encoding: gzip, Chunked\r\n\r\n"), Ok(chunked));
        let open = Ok(Ending { framing: Framing::UntilClose, reusable: false });
        assert_eq!(ending("HTTP/1.1 200 x\r\n\r\n"), open);
        assert_eq!(ending("HTTP/1.1 200 x\r\ntransfer-encoding: gzip\r\n\r\n"), open);
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_refused() {
        for head in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: +5",
            "content-length: 5, 5",
            "content-length: 99999999999999999999",
            "content-length: 5\r\ntransfer-encoding: chunked",
        ] {
            assert!(ending(&format!("HTTP/1.1 200 x\r\n{head}\r\n\r\n")).is_err(), "{head}");
        }
        assert_eq!(
            ending("HTTP/1.1 200 x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n"),
            length(5, true)
        );
        assert!(ending("HTTP/1.1 101 x\r\nupgrade: x\r\n\r\n").is_err());
    }
}
