//! Plan of the load: which customers and tenants send which messages.

/// Messages that each customer writes. The automation replies to each.
const WRITES: usize = 6;
/// Messages that the tenant sends on its own in each conversation.
const POSTS: usize = 3;
/// Prefix of the automation's replies.
pub(crate) const ECHO: &str = "Echo: ";

/// Providers used by the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Whatsapp,
    Telegram,
}

impl Provider {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
        }
    }
}

/// A conversation between a customer and an account of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) number: usize,
    /// Index of the account.
    pub(crate) account: usize,
    pub(crate) address: String,
}

impl Conversation {
    /// Returns enough conversations for `messages`, assigned to the accounts in turn.
    pub(crate) fn all(messages: usize, providers: &[Provider]) -> Vec<Self> {
        let conversations = messages.div_ceil(2 * WRITES + POSTS);
        let accounts = providers.iter().enumerate().cycle();
        (0..conversations)
            .zip(accounts)
            .map(|(number, (account, provider))| Self {
                number,
                account,
                address: match provider {
                    Provider::Whatsapp => format!("1650{:07}", 1_000_000 + number),
                    Provider::Telegram => format!("{}", 7_000_001 + number),
                },
            })
            .collect()
    }

    /// The customer's messages, in order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = String> + use<> {
        let number = self.number;
        (0..WRITES).map(move |nth| format!("in {number} {nth}"))
    }

    /// The customer's message during the automation's outage.
    pub(crate) fn late_write(&self) -> String {
        format!("in {} {WRITES}", self.number)
    }

    /// The tenant's message during the providers' outage.
    pub(crate) fn late_post(&self) -> String {
        format!("out {} {POSTS}", self.number)
    }

    /// The tenant's message after the customer's message `nth`, if there is one.
    pub(crate) fn post_after(&self, nth: usize) -> Option<String> {
        let due = nth % 2 == 1 && nth / 2 < POSTS;
        due.then(|| format!("out {} {}", self.number, nth / 2))
    }
}

/// Position of a text among the customer's or the tenant's messages of its conversation.
pub(crate) fn position(text: &str) -> Option<usize> {
    text.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDERS: [Provider; 3] = [Provider::Whatsapp, Provider::Telegram, Provider::Telegram];

    #[test]
    fn the_conversations_make_at_least_the_requested_messages() {
        let conversations = Conversation::all(300, &PROVIDERS);
        let messages = |conversation: &Conversation| {
            let posts = (0..WRITES).filter_map(|nth| conversation.post_after(nth)).count();
            2 * conversation.writes().count() + posts
        };
        assert_eq!(conversations.iter().map(messages).sum::<usize>(), 300);
        assert_eq!(
            conversations.iter().filter(|conversation| conversation.account == 2).count(),
            6
        );
    }

    #[test]
    fn no_two_conversations_share_an_address_or_a_text() {
        let conversations = Conversation::all(10_000, &PROVIDERS);
        let mut seen = std::collections::BTreeSet::new();
        for conversation in &conversations {
            assert!(seen.insert(conversation.address.clone()));
            for (nth, text) in conversation.writes().enumerate() {
                assert_eq!(position(&text), Some(nth));
                assert!(seen.insert(text));
            }
            for text in [conversation.late_write(), conversation.late_post()] {
                assert!(position(&text).is_some() && seen.insert(text));
            }
        }
        assert_eq!(position("out 7 2"), Some(2));
    }
}
