//! A real DNS server on loopback.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hickory_resolver::proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::SRV},
};
use parking_lot::Mutex;
use tokio::{net::UdpSocket, task::JoinSet};

const TTL: u32 = 300;

/// Answers from its records, by UDP; it ends when it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    records: Arc<Mutex<Records>>,
    asked: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

type Records = HashMap<Name, Vec<RData>>;

impl DnsServer {
    /// Starts a server without records.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let (records, asked) = (Arc::default(), Arc::default());
        let mut task = JoinSet::new();
        task.spawn(serve(socket, Arc::clone(&records), Arc::clone(&asked)));
        Self {
            address,
            records,
            asked,
            _task: task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an address of a name.
    pub fn add_address(&self, name: &str, address: &str) {
        let address: IpAddr = address.parse().expect("an address");
        self.add(name, RData::from(address));
    }

    /// Adds an SRV record.
    pub fn add_service(&self, name: &str, priority: u16, port: u16, target: &str) {
        let service = SRV::new(priority, 0, port, absolute(target));
        self.add(name, RData::SRV(service));
    }

    /// The names that were asked for, with the kind of record, such as `example.org. A`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    fn add(&self, name: &str, data: RData) {
        self.records
            .lock()
            .entry(absolute(name))
            .or_default()
            .push(data);
    }
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name
}

async fn serve(socket: UdpSocket, records: Arc<Mutex<Records>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let Ok(request) = Message::from_vec(buffer.get(..length).unwrap_or_default()) else {
            continue;
        };
        let response = answer(&request, &records.lock());
        for query in &request.queries {
            asked
                .lock()
                .push(format!("{} {}", query.name(), query.query_type()));
        }
        let response = response.to_vec().expect("a valid message");
        // The client may be gone.
        let _sent = socket.send_to(&response, client).await;
    }
}

fn answer(request: &Message, records: &Records) -> Message {
    let mut response = Message::response(request.metadata.id, OpCode::Query);
    response.metadata.recursion_available = true;
    for query in &request.queries {
        response.add_query(query.clone());
        match records.get(&query.name().to_lowercase()) {
            Some(found) => {
                response.add_answers(matching(query, found));
            }
            None => response.metadata.response_code = ResponseCode::NXDomain,
        }
    }
    response
}

fn matching(query: &Query, found: &[RData]) -> Vec<Record> {
    let kind: RecordType = query.query_type();
    let records = found.iter().filter(|data| data.record_type() == kind);
    let record = |data: &RData| Record::from_rdata(query.name().clone(), TTL, data.clone());
    records.map(record).collect()
}
