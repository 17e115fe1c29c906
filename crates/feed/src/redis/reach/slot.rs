//! Which slot of a Cluster a key is in: CRC16 of its hash tag, as the Cluster's specification has it.

/// How many slots a Cluster has.
const SLOTS: u16 = 16_384;
/// The polynomial of CRC-16/XMODEM.
const POLYNOMIAL: u16 = 0x1021;

/// The slot of a key or of a sharded channel. If there is something between the first `{` and the next `}`, that alone
/// decides.
pub(crate) fn of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS
}

/// Bit by bit: it is computed once per connection.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let mixed = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(mixed, |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_in_which_redis_has_them() {
        // The specification's own vector, then what `CLUSTER KEYSLOT` of Redis 7.0 answers.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [
            ("123456789", 12_739),
            ("", 0),
            ("foo", 12_182),
            ("{0}", 13_907),
            ("fantail-log:{0}", 13_907),
            ("fantail-stream:{0}:a{b}", 13_907),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("foo{bar", 15_278),
        ] {
            assert_eq!(of(key), slot, "{key}");
        }
    }
}
