//! Names, asked for at a name server that the test answers for.

use std::sync::Arc;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::{A, SRV};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;

/// A name server that knows these records, and whose knowledge can be changed.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<(String, u32, RData)>>>);

impl Server {
    fn knows(&self, records: &[(&str, u32, RData)]) {
        *self.0.lock() =
            records.iter().map(|(name, ttl, data)| ((*name).to_owned(), *ttl, data.clone())).collect();
    }

    async fn start(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = self.clone();
        TaskTracker::new().spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = server.answer(&Message::from_vec(&buffer[..length]).unwrap());
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    fn answer(&self, question: &Message) -> Message {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        let query = &question.queries[0];
        answer.add_query(query.clone());
        let asked = query.name().to_utf8();
        for (name, ttl, data) in self.0.lock().iter() {
            if asked.trim_end_matches('.') == name && data.record_type() == query.query_type() {
                answer.add_answer(Record::from_rdata(query.name().clone(), *ttl, data.clone()));
            }
        }
        if answer.answers.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }
}

fn a(last: u8) -> RData {
    RData::A(A::new(10, 0, 0, last))
}

fn srv(port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(0, 0, port, Name::from_utf8(target).unwrap()))
}

async fn next(names: &mut Names) -> Result<Vec<String>, String> {
    let told = timeout(Duration::from_secs(30), names.next()).await.expect("this is a hang");
    told.map(|workers| workers.iter().map(|worker| worker.url.to_string()).collect())
        .map_err(|error| error.to_string())
}

fn hosts(host: &str, server: SocketAddr) -> Names {
    Names::new(Question::Addresses { host: host.to_owned(), port: 80 }, Some(server))
}

#[tokio::test]
async fn every_address_of_a_name_is_a_worker_and_is_asked_for_again_when_its_time_is_over() {
    let server = Server::default();
    server.knows(&[("vllm.local", 60, a(2)), ("vllm.local", 2, a(1)), ("other.local", 1, a(9))]);
    let mut names = hosts("vllm.local", server.start().await);
    assert_eq!(next(&mut names).await.unwrap(), ["http://10.0.0.1:80", "http://10.0.0.2:80"]);
    let due = names.due.saturating_duration_since(Instant::now());
    assert!(
        due > Duration::from_millis(1_500) && due <= Duration::from_secs(2),
        "{due:?}, but two seconds is the shortest"
    );

    server.knows(&[("vllm.local", 7_200, a(2))]);
    names.due = Instant::now();
    assert_eq!(next(&mut names).await.unwrap(), ["http://10.0.0.2:80"]);
    assert!(names.due.saturating_duration_since(Instant::now()) <= LONGEST);
}

#[tokio::test]
async fn a_service_record_brings_its_own_ports() {
    let server = Server::default();
    server.knows(&[
        ("_http._tcp.vllm.local", 30, srv(8000, "one.vllm.local.")),
        ("_http._tcp.vllm.local", 30, srv(8001, "two.vllm.local.")),
        ("_http._tcp.vllm.local", 30, srv(8002, "gone.vllm.local.")),
        ("one.vllm.local", 10, a(1)),
        ("two.vllm.local", 20, a(2)),
    ]);
    let question = Question::Services { name: "_http._tcp.vllm.local".to_owned() };
    let mut names = Names::new(question, Some(server.start().await));
    assert_eq!(next(&mut names).await.unwrap(), ["http://10.0.0.1:8000", "http://10.0.0.2:8001"]);
    let due = names.due.saturating_duration_since(Instant::now());
    assert!(due > Duration::from_secs(9) && due <= Duration::from_secs(10), "{due:?}");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_an_error_and_asked_for_again_soon() {
    let server = Server::default();
    let mut names = hosts("vllm.local", server.start().await);
    let error = next(&mut names).await.unwrap_err();
    assert!(error.contains("vllm.local cannot be resolved") && error.contains("hint: "), "{error}");
    server.knows(&[("vllm.local", 5, a(1))]);
    assert!(names.due.saturating_duration_since(Instant::now()) <= RETRY);
    names.due = Instant::now();
    assert_eq!(next(&mut names).await.unwrap(), ["http://10.0.0.1:80"]);
}
