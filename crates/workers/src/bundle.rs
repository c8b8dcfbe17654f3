//! Records on their way to the recorder. What one message costs a broker depends little on its size, so those that are
//! settled together go in few: each is a bundle.

use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::Record;

/// Most records in one message, and most bytes of them, unless one alone is larger.
const MOST: usize = 64;
const MOST_BYTES: usize = 16 << 10;

/// Records that leave together, in order.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    full: Vec<Outgoing>,
    open: Vec<u8>,
    records: usize,
}

impl Bundles {
    /// Adds one more.
    pub(crate) fn push(&mut self, record: &Record) {
        self.push_json(&record.to_json());
    }

    /// Adds one more, as [`Record::to_json`] wrote it.
    pub(crate) fn push_json(&mut self, record: &[u8]) {
        if self.records == MOST || (self.records > 0 && self.open.len() + record.len() >= MOST_BYTES) {
            self.close();
        }
        if self.records > 0 {
            self.open.push(b'\n');
        }
        self.open.extend_from_slice(record);
        self.records += 1;
    }

    /// As messages, each of which [`Record::all_from_json`] reads.
    pub(crate) fn into_messages(mut self) -> Vec<Outgoing> {
        if self.records > 0 {
            self.close();
        }
        self.full
    }

    fn close(&mut self) {
        self.full.push(Outgoing::new(queues::outcomes(), std::mem::take(&mut self.open)));
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::{FannedOut, Kind, WIRE_VERSION};
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn every_record_is_read_again_in_order_and_no_message_is_too_large() {
        let record = |(number, size): (usize, &usize)| {
            let fanned_out = FannedOut {
                source: format!("{number}{}", "x".repeat(*size)),
                event: "e".into(),
                kind: Kind::RepoPush,
                subject: "acme/app".into(),
                accepted_at: Timestamp::UNIX_EPOCH,
                deliveries: Vec::new(),
            };
            Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None }
        };
        for (sizes, messages) in [
            (vec![], vec![]),
            (vec![0], vec![1]),
            (vec![0; MOST], vec![MOST]),
            (vec![0; MOST + 1], vec![MOST, 1]),
            (vec![0, MOST_BYTES, 0, 0], vec![1, 1, 2]),
            (vec![MOST_BYTES / 3; 4], vec![2, 2]),
        ] {
            let mut bundles = Bundles::default();
            let records: Vec<_> = sizes.iter().enumerate().map(record).collect();
            for record in &records {
                bundles.push(record);
            }
            let read: Vec<Vec<Record>> = bundles
                .into_messages()
                .iter()
                .map(|message| Record::all_from_json(&message.body).expect("records"))
                .collect();
            assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), messages, "{sizes:?}");
            assert_eq!(read.concat(), records);
        }
    }
}
