//! From a query to a response, without I/O.

use crate::zone::{Answer, Data, Zone};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Seconds that an answer may be kept.
pub const TTL: u32 = 5;
/// Bytes of a UDP answer to a client that does not say that it takes more.
pub const UDP_BYTES: usize = 512;

/// What to do with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask upstream; the name is not the cluster's.
    Forward,
    /// Nothing: the packet is no query.
    Ignore,
}

/// Decides over a packet. `limit` is what the transport carries; a longer answer is truncated.
pub fn handle(zone: &Zone, packet: &[u8], limit: usize) -> Step {
    let query = match Message::from_vec(packet) {
        Ok(query) => query,
        Err(_) => return malformed(packet),
    };
    if query.metadata.message_type != MessageType::Query {
        return Step::Ignore;
    }
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    let [question] = &query.queries[..] else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return encode(reply, limit);
    };
    if query.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return encode(reply, limit);
    }
    let limit = query.edns.as_ref().map_or(limit, |edns| limit.max(usize::from(edns.max_payload()).min(1232)));
    match zone.look_up(&question.name().to_ascii()) {
        Answer::NotOurs => return Step::Forward,
        Answer::NoSuchName => {
            reply.metadata.authoritative = true;
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.authorities.extend(soa());
        }
        Answer::Records(data) => {
            reply.metadata.authoritative = true;
            let records = data.iter().filter_map(|data| record(question.name(), data));
            reply.answers = records.filter(|record| fits(record, question.query_type())).collect();
            if reply.answers.is_empty() {
                reply.authorities.extend(soa());
            }
        }
    }
    encode(reply, limit)
}

/// The answer when upstream gave none.
pub fn failure(packet: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(packet).ok()?;
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.queries = query.queries;
    reply.metadata.response_code = ResponseCode::ServFail;
    reply.to_vec().ok()
}

fn malformed(packet: &[u8]) -> Step {
    let Some([a, b]) = packet.get(..2) else { return Step::Ignore };
    let reply = Message::error_msg(u16::from_be_bytes([*a, *b]), OpCode::Query, ResponseCode::FormErr);
    reply.to_vec().map_or(Step::Ignore, Step::Reply)
}

fn fits(record: &Record, wanted: RecordType) -> bool {
    let own = record.record_type();
    wanted == RecordType::ANY || own == wanted || own == RecordType::CNAME
}

fn record(name: &Name, data: &Data) -> Option<Record> {
    let parse = |text: &str| Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).ok();
    let data = match data {
        Data::A(ip) => RData::A(A(*ip)),
        Data::Cname(target) => RData::CNAME(CNAME(parse(target)?)),
        Data::Srv(port, host) => RData::SRV(SRV::new(0, 100, *port, parse(host)?)),
        Data::Ptr(host) => RData::PTR(PTR(parse(host)?)),
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}

/// Tells resolvers how long a "no" may be kept (RFC 2308).
fn soa() -> Option<Record> {
    let zone = Name::from_ascii("cluster.local.").ok()?;
    let (master, mail) =
        (Name::from_ascii("ns.dns.cluster.local.").ok()?, Name::from_ascii("hostmaster.cluster.local.").ok()?);
    Some(Record::from_rdata(zone, TTL, RData::SOA(SOA::new(master, mail, 1, 7200, 1800, 86400, TTL))))
}

fn encode(mut reply: Message, limit: usize) -> Step {
    let Ok(bytes) = reply.to_vec() else { return Step::Ignore };
    if bytes.len() <= limit {
        return Step::Reply(bytes);
    }
    reply.answers.clear();
    reply.authorities.clear();
    reply.metadata.truncation = true;
    reply.to_vec().map_or(Step::Ignore, Step::Reply)
}
