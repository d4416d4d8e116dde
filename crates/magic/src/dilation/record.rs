//! Records: the plaintext of a frame (dilation-protocol.md "L3").
//!
//! The numbers of the kinds are those of Python 0.24; the specification has older ones.

use std::fmt;

use wormhole_kit::Reader;

/// A record.
#[derive(Clone, Eq, PartialEq)]
pub enum DilationRecord {
    /// Key confirmation message: the first record of each side on a connection.
    Kcm,
    /// Asks for a [`Pong`](Self::Pong) with the same content.
    Ping([u8; 4]),
    /// The answer to a [`Ping`](Self::Ping).
    Pong([u8; 4]),
    /// Opens a subchannel.
    Open {
        /// The new subchannel.
        subchannel: u32,
        /// The number of this record.
        number: u32,
        /// The purpose of the subchannel.
        subprotocol: String,
    },
    /// Data of a subchannel.
    Data {
        /// The subchannel.
        subchannel: u32,
        /// The number of this record.
        number: u32,
        /// The data.
        data: Vec<u8>,
    },
    /// The sender sends no more data on this subchannel.
    Close {
        /// The subchannel.
        subchannel: u32,
        /// The number of this record.
        number: u32,
    },
    /// All records up to this number have arrived.
    Ack {
        /// The number.
        number: u32,
    },
    /// The receiver may send more data on this subchannel. Only in [`GedCredit`](super::DilationVersion::GedCredit).
    Credit {
        /// The subchannel.
        subchannel: u32,
        /// The number of this record.
        number: u32,
        /// How many bytes more.
        bytes: u32,
    },
}

impl DilationRecord {
    /// Decodes a record.
    ///
    /// # Errors
    /// The record is invalid; close the connection.
    pub fn decode(plaintext: &[u8]) -> Result<Self, BadDilationRecord> {
        let mut reader = Reader::new(plaintext);
        let kind = reader.u8().map_err(|_| BadDilationRecord::Length(0))?;
        let too_short = |_| BadDilationRecord::Length(plaintext.len());
        let record = match kind {
            KCM => Self::Kcm,
            PING => Self::Ping(reader.array().map_err(too_short)?),
            PONG => Self::Pong(reader.array().map_err(too_short)?),
            ACK => Self::Ack { number: reader.u32_be().map_err(too_short)? },
            OPEN | DATA | CLOSE | CREDIT => {
                let subchannel = reader.u32_be().map_err(too_short)?;
                let number = reader.u32_be().map_err(too_short)?;
                match kind {
                    OPEN => {
                        let subprotocol = parse_subprotocol(reader.rest())?;
                        return Ok(Self::Open { subchannel, number, subprotocol });
                    }
                    DATA => {
                        let data = reader.rest().to_vec();
                        return Ok(Self::Data { subchannel, number, data });
                    }
                    CREDIT => {
                        let bytes = reader.u32_be().map_err(too_short)?;
                        Self::Credit { subchannel, number, bytes }
                    }
                    _ => Self::Close { subchannel, number },
                }
            }
            unknown => return Err(BadDilationRecord::Unknown(unknown)),
        };
        if reader.is_empty() { Ok(record) } else { Err(BadDilationRecord::Length(plaintext.len())) }
    }

    /// Encodes the record.
    pub fn encode(&self) -> Vec<u8> {
        let (mut head, body) = self.encode_parts();
        head.extend_from_slice(body);
        head
    }

    /// Encodes the record without copying its data.
    pub fn encode_parts(&self) -> (Vec<u8>, &[u8]) {
        let numbered = |kind: u8, subchannel: &u32, number: &u32| {
            [&[kind][..], &subchannel.to_be_bytes(), &number.to_be_bytes()].concat()
        };
        match self {
            Self::Kcm => (vec![KCM], &[]),
            Self::Ping(id) => ([&[PING][..], id].concat(), &[]),
            Self::Pong(id) => ([&[PONG][..], id].concat(), &[]),
            Self::Open { subchannel, number, subprotocol } => {
                (numbered(OPEN, subchannel, number), subprotocol.as_bytes())
            }
            Self::Data { subchannel, number, data } => (numbered(DATA, subchannel, number), data),
            Self::Close { subchannel, number } => (numbered(CLOSE, subchannel, number), &[]),
            Self::Ack { number } => ([&[ACK][..], &number.to_be_bytes()].concat(), &[]),
            Self::Credit { subchannel, number, bytes } => {
                let mut record = numbered(CREDIT, subchannel, number);
                record.extend_from_slice(&bytes.to_be_bytes());
                (record, &[])
            }
        }
    }
}

/// Prints no data.
impl fmt::Debug for DilationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kcm => f.write_str("Kcm"),
            Self::Ping(_) => f.write_str("Ping"),
            Self::Pong(_) => f.write_str("Pong"),
            Self::Open { subchannel, number, .. } => write!(f, "Open({subchannel}, {number})"),
            Self::Data { subchannel, number, data } => {
                write!(f, "Data({subchannel}, {number}, {} bytes)", data.len())
            }
            Self::Close { subchannel, number } => write!(f, "Close({subchannel}, {number})"),
            Self::Ack { number } => write!(f, "Ack({number})"),
            Self::Credit { subchannel, number, bytes } => {
                write!(f, "Credit({subchannel}, {number}, {bytes} bytes)")
            }
        }
    }
}

fn parse_subprotocol(bytes: &[u8]) -> Result<String, BadDilationRecord> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadDilationRecord::Subprotocol)?;
    if text.len() > MAX_SUBPROTOCOL {
        return Err(BadDilationRecord::Subprotocol);
    }
    Ok(text.to_owned())
}

/// Why a record is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadDilationRecord {
    /// No record of its kind has this length.
    #[error("a record of this kind never has {0} bytes")]
    Length(usize),
    /// The name of a subprotocol is too long, or not UTF-8.
    #[error("the name of a subprotocol is too long or not UTF-8")]
    Subprotocol,
    /// The kind is unknown.
    #[error("unknown kind of record {0}")]
    Unknown(u8),
}

const KCM: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;
const OPEN: u8 = 3;
const DATA: u8 = 4;
const CLOSE: u8 = 5;
const ACK: u8 = 6;

/// The kind of [`DilationRecord::Credit`].
pub(super) const CREDIT: u8 = 7;

/// Size of a data record before its data.
pub const DATA_HEADER: usize = 9;

/// Maximum size of the name of a subprotocol in bytes.
pub const MAX_SUBPROTOCOL: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding_and_decoding_and_print_no_data() {
        let (subchannel, number) = (1, 0x0102_0304);
        let records = [
            DilationRecord::Kcm,
            DilationRecord::Ping([1, 2, 3, 4]),
            DilationRecord::Pong([1, 2, 3, 4]),
            DilationRecord::Open { subchannel, number, subprotocol: "fowl".into() },
            DilationRecord::Data { subchannel, number, data: b"AAAA".to_vec() },
            DilationRecord::Data { subchannel, number, data: vec![] },
            DilationRecord::Close { subchannel, number },
            DilationRecord::Ack { number },
            DilationRecord::Credit { subchannel, number, bytes: 100_000 },
        ];
        for record in records {
            assert_eq!(DilationRecord::decode(&record.encode()), Ok(record.clone()));
            assert!(!format!("{record:?}").contains("65"), "{record:?}");
        }
    }

    #[test]
    fn truncated_oversized_and_unknown_records_are_refused() {
        for bytes in [
            vec![],
            vec![KCM, 0],
            vec![PING, 1, 2, 3],
            vec![PING, 1, 2, 3, 4, 5],
            vec![PONG],
            vec![ACK, 0, 0, 0],
            vec![ACK, 0, 0, 0, 0, 0],
            vec![OPEN, 0, 0, 0, 1, 0, 0, 0],
            vec![DATA, 0, 0, 0, 1, 0, 0, 0],
            vec![CLOSE, 0, 0, 0, 1, 0, 0, 0, 0, 0],
            vec![CREDIT, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            vec![CREDIT, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        ] {
            let length = bytes.len();
            assert_eq!(DilationRecord::decode(&bytes), Err(BadDilationRecord::Length(length)));
        }
        for kind in 8..=255 {
            let decoded = DilationRecord::decode(&[kind, 0, 0, 0, 0]);
            assert_eq!(decoded, Err(BadDilationRecord::Unknown(kind)));
        }
        let open = [OPEN, 0, 0, 0, 1, 0, 0, 0, 0];
        for name in [vec![0xff], vec![b'x'; MAX_SUBPROTOCOL + 1]] {
            let decoded = DilationRecord::decode(&[&open[..], &name].concat());
            assert_eq!(decoded, Err(BadDilationRecord::Subprotocol));
        }
    }
}
