//! The nodes of a Cluster as one of them knows them: the answer to `CLUSTER NODES`, a line for each.
//!
//! `<id> <ip>:<port>@<bus port>[,<name>[,<more>]] <flags> <master> <ping> <pong> <epoch> <link> <slot>…`; it is read as
//! far as it is understood, since every version adds to it.

use std::ops::RangeInclusive;

use crate::redis::reach::address::Address;
use crate::redis::reach::discovery::{MasterClaim, Unanswered};

/// The nodes.
#[derive(Debug)]
pub(super) struct ClusterMap {
    nodes: Vec<MapNode>,
}

#[derive(Debug, PartialEq, Eq)]
struct MapNode {
    id: String,
    /// None if nobody has told the answering node where this one is; its own host may be unknown to it.
    address: Option<NodeAddress>,
    is_asked: bool,
    is_master: bool,
    has_failed: bool,
    epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeAddress {
    host: Option<String>,
    port: u16,
}

impl ClusterMap {
    /// Reads it. Certificates hold names rather than numbers, so with TLS names are preferred where there are some.
    pub(super) fn read(text: &str, prefers_names: bool) -> Self {
        Self { nodes: text.lines().filter_map(|line| MapNode::read(line, prefers_names)).collect() }
    }

    /// The owner of a slot, as the node at `asked` knows it.
    pub(super) fn owner(&self, slot: u16, asked: &Address) -> Result<MasterClaim, Unanswered> {
        let owner = self.nodes.iter().find(|node| node.owns(slot)).ok_or(Unanswered::NoOwner(slot))?;
        let answer = owner.answer(asked).ok_or(Unanswered::NoOwner(slot))?;
        if owner.has_failed { Err(Unanswered::OwnerFailed(answer.address)) } else { Ok(answer) }
    }

    /// Whether the node that was asked owns a slot.
    pub(super) fn is_here(&self, slot: u16) -> bool {
        self.nodes.iter().any(|node| node.is_asked && node.owns(slot))
    }

    /// All masters with slots.
    pub(super) fn masters(&self, asked: &Address) -> Vec<MasterClaim> {
        let serving = self.nodes.iter().filter(|node| node.is_master && !node.has_failed && !node.slots.is_empty());
        serving.filter_map(|node| node.answer(asked)).collect()
    }

    /// Where the others are that can be asked.
    pub(super) fn others(&self, asked: &Address) -> Vec<Address> {
        let others = self.nodes.iter().filter(|node| !node.is_asked && !node.has_failed);
        others.filter_map(|node| node.answer(asked)).map(|answer| answer.address).collect()
    }
}

impl MapNode {
    fn read(line: &str, prefers_names: bool) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, address, flags) = (words.next()?, words.next()?, words.next()?);
        let epoch = words.nth(3)?.parse().ok()?;
        let has = |flag: &str| flags.split(',').any(|found| found == flag);
        if has("handshake") {
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            address: if has("noaddr") { None } else { NodeAddress::read(address, prefers_names) },
            is_asked: has("myself"),
            is_master: has("master"),
            // Not `fail?`, which is the suspicion of one node.
            has_failed: has("fail"),
            epoch,
            slots: words.skip(1).filter_map(slots).collect(),
        })
    }

    fn owns(&self, slot: u16) -> bool {
        self.is_master && self.slots.iter().any(|slots| slots.contains(&slot))
    }

    /// The node that was asked is where it was asked, whatever it takes for its own address.
    fn answer(&self, asked: &Address) -> Option<MasterClaim> {
        let address = if self.is_asked {
            asked.clone()
        } else {
            let NodeAddress { host, port } = self.address.clone()?;
            Address { host: host.unwrap_or_else(|| asked.host.clone()), port }
        };
        Some(MasterClaim { address, name: self.id.clone(), epoch: self.epoch })
    }
}

impl NodeAddress {
    fn read(text: &str, prefers_names: bool) -> Option<Self> {
        let (address, rest) = text.split_once('@').unwrap_or((text, ""));
        let (number, port) = address.rsplit_once(':')?;
        // Behind the port of the bus comes the name, then what is written with an equals sign.
        let name = rest.split(',').nth(1).filter(|name| !name.is_empty() && !name.contains('='));
        let number = Some(number).filter(|number| !number.is_empty());
        let host = if prefers_names { name.or(number) } else { number.or(name) };
        Some(Self { host: host.map(str::to_owned), port: port.parse().ok().filter(|port| *port > 0)? })
    }
}

/// `93`, or `93-107`. A slot on its way is `[93->-<id>]` at the node that has it still, and not its owner's otherwise.
fn slots(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    const TOLD: &str = "\
aaaa :7000@17000 myself,master - 0 0 7 connected 0-99 [93->-bbbb] [50-<-bbbb]
bbbb 10.0.0.2:7001@17001,redis-b.example,shard-id=x,nodename= master - 0 1 3 connected 100-199 300
cccc ::1:7002@17002,, slave bbbb 0 1 3 connected
dddd 10.0.0.4:7003@17003 master,fail - 1 0 9 disconnected 200-299
eeee :0@0 master,noaddr - 1 0 8 disconnected 301
ffff 10.0.0.6:7005@17005 handshake - 0 0 0 disconnected
what is this
";

    fn asked() -> Address {
        Address { host: "seed".into(), port: 70 }
    }

    fn owner(slot: u16, prefers_names: bool) -> Result<(String, String, u64), String> {
        let answer = ClusterMap::read(TOLD, prefers_names).owner(slot, &asked());
        answer.map(|it| (it.name, it.address.to_string(), it.epoch)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_owner_of_a_slot_is_found_at_the_address_by_which_it_is_reached() {
        assert_eq!(owner(93, false).unwrap(), ("aaaa".into(), "seed:70".into(), 7), "it is where it was asked");
        assert_eq!(owner(50, false).unwrap().0, "aaaa");
        assert_eq!(owner(300, false).unwrap(), ("bbbb".into(), "10.0.0.2:7001".into(), 3));
        assert_eq!(owner(199, true).unwrap().1, "redis-b.example:7001");
    }

    #[test]
    fn an_owner_that_failed_or_has_no_address_is_told() {
        assert_eq!(owner(400, false).unwrap_err(), "knows no master for the slot 400 of the log");
        assert_eq!(owner(301, false).unwrap_err(), "knows no master for the slot 301 of the log");
        let failed = "says that 10.0.0.4:7003, the master for the slot of the log, has failed";
        assert_eq!(owner(200, false).unwrap_err(), failed);
    }

    #[test]
    fn a_node_knows_whether_it_is_the_owner_and_who_else_may_be_asked() {
        let map = ClusterMap::read(TOLD, false);
        assert!(map.is_here(0) && !map.is_here(100));
        let others: Vec<_> = map.others(&asked()).iter().map(ToString::to_string).collect();
        assert_eq!(others, ["10.0.0.2:7001", "[::1]:7002"]);
        let masters: Vec<_> = map.masters(&asked()).into_iter().map(|master| master.name).collect();
        assert_eq!(masters, ["aaaa", "bbbb"]);
    }

    /// A node that was never told its own address names the others by theirs, and itself by nothing.
    #[test]
    fn a_node_without_a_host_is_where_the_one_is_that_tells_of_it() {
        let map = ClusterMap::read("aaaa :7001@17001 master - 0 0 1 connected 0-16383\n", false);
        assert_eq!(map.owner(5, &asked()).unwrap().address.to_string(), "seed:7001");
    }
}
