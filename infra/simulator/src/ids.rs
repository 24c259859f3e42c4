//! Identifiers in the providers' formats. They never repeat, not even after a restart.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Generator of identifiers. Two generators that started in different milliseconds do not collide.
#[derive(Debug)]
pub struct Ids {
    started_ms: i64,
    next: u64,
}

impl Ids {
    /// A generator for a process that started at `started_ms`.
    #[must_use]
    pub fn new(started_ms: i64) -> Self {
        Self { started_ms, next: 0 }
    }

    /// When the process started.
    #[must_use]
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.next += 1;
        let seed = format!("{}:{}", self.started_ms, self.next);
        digest::digest(&digest::SHA256, seed.as_bytes()).as_ref().to_vec()
    }

    fn hex(&mut self, length: usize) -> String {
        hex::encode_upper(self.bytes()).chars().take(length).collect()
    }

    /// A number unique in this process, counting up from 1.
    pub fn serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The id of a message that the business sends to `wa_id`.
    pub fn wamid_outbound(&mut self, wa_id: &str) -> String {
        let tail = self.hex(18);
        wamid(wa_id, 0x11, &tail)
    }

    /// The id of a message that the customer `wa_id` writes.
    pub fn wamid_inbound(&mut self, wa_id: &str) -> String {
        let tail = self.hex(18);
        wamid(wa_id, 0x12, &format!("3A{tail}"))
    }

    /// The id of a message on `WhatsApp` Web: `prefix` names the kind of device that wrote it.
    pub fn whatsapp_key(&mut self, prefix: &str) -> String {
        format!("{prefix}{}", self.hex(18))
    }

    /// A media id: 16 digits.
    pub fn media(&mut self) -> String {
        let number =
            self.bytes().iter().take(7).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{}", 1_000_000_000_000_000 + number % 9_000_000_000_000_000)
    }

    /// A trace id in Meta's format (`fbtrace_id`).
    pub fn fbtrace(&mut self) -> String {
        format!("A{}", self.hex(22))
    }

    /// A Telegram file id.
    pub fn file(&mut self) -> String {
        format!("AgACAgIAAxkBAAI{}", self.hex(40))
    }

    /// A Twilio SID: two letters and 32 hexadecimal digits.
    pub fn sid(&mut self, prefix: &str) -> String {
        format!("{prefix}{}", self.hex(32).to_ascii_lowercase())
    }

    /// The first update and message number of a bot: above those of earlier processes, and within
    /// 32 bits.
    #[must_use]
    pub fn telegram_base(&self) -> i64 {
        ((self.started_ms / 1000 - 1_700_000_000).max(0) * 16) % 2_000_000_000 + 1
    }
}

/// An id in Meta's format: the customer's number, a direction and a random tail.
fn wamid(wa_id: &str, direction: u8, tail: &str) -> String {
    let mut raw = vec![0x1c, 0x18, u8::try_from(wa_id.len()).unwrap_or(u8::MAX)];
    raw.extend_from_slice(wa_id.as_bytes());
    raw.extend_from_slice(&[0x15, 0x02, 0x00, direction, 0x18]);
    raw.push(u8::try_from(tail.len()).unwrap_or(u8::MAX));
    raw.extend_from_slice(tail.as_bytes());
    raw.push(0);
    format!("wamid.{}", STANDARD.encode(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wamid_has_the_layout_of_the_published_examples() {
        assert_eq!(
            wamid("16503879439", 0x11, "B96747441CEB7504CE"),
            "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBJCOTY3NDc0NDFDRUI3NTA0Q0UA"
        );
        let id = Ids::new(1).wamid_inbound("16505551234");
        assert!(id.starts_with("wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQz"), "{id}");
    }

    #[test]
    fn ids_do_not_repeat_even_after_a_restart() {
        let (mut first, mut second) = (Ids::new(1_795_000_000_000), Ids::new(1_795_000_000_001));
        let mut all = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            assert!(all.insert(first.wamid_outbound("1")));
            assert!(all.insert(second.wamid_outbound("1")));
        }
    }

    #[test]
    fn update_ids_increase_across_restarts_and_fit_in_32_bits() {
        let (early, late) = (Ids::new(1_795_000_000_000), Ids::new(1_795_000_060_000));
        assert!(early.telegram_base() < late.telegram_base());
        assert!(late.telegram_base() < i64::from(i32::MAX));
    }
}
