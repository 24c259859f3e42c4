//! Who writes what. Everything follows from the number of messages.

/// Messages a customer writes; each is answered by the automation.
const WRITES: usize = 6;
/// Messages the tenant sends by themselves in between.
const POSTS: usize = 3;
/// What the automation puts before what it repeats.
pub(crate) const ECHO: &str = "Echo: ";

/// The providers that carry messages.
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

/// One conversation: a customer and one of a tenant's accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Talk {
    pub(crate) number: usize,
    /// Which account it goes over.
    pub(crate) account: usize,
    pub(crate) address: String,
}

impl Talk {
    /// The talks that make so many messages, over accounts that take turns.
    pub(crate) fn all(messages: usize, providers: &[Provider]) -> Vec<Self> {
        let talks = messages.div_ceil(2 * WRITES + POSTS);
        let accounts = providers.iter().enumerate().cycle();
        (0..talks)
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

    /// What the customer writes, in order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = String> + use<> {
        let number = self.number;
        (0..WRITES).map(move |nth| format!("in {number} {nth}"))
    }

    /// What the customer writes after all that.
    pub(crate) fn late_write(&self) -> String {
        format!("in {} {WRITES}", self.number)
    }

    /// What the tenant sends after all that.
    pub(crate) fn late_post(&self) -> String {
        format!("out {} {POSTS}", self.number)
    }

    /// What the tenant sends after the customer's message `nth`, if anything.
    pub(crate) fn post_after(&self, nth: usize) -> Option<String> {
        let due = nth % 2 == 1 && nth / 2 < POSTS;
        due.then(|| format!("out {} {}", self.number, nth / 2))
    }
}

/// The place of a text in its talk: which of the customer's, or of the tenant's own.
pub(crate) fn place(text: &str) -> Option<usize> {
    text.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDERS: [Provider; 3] = [Provider::Whatsapp, Provider::Telegram, Provider::Telegram];

    #[test]
    fn the_talks_make_at_least_as_many_messages_as_asked_for() {
        let talks = Talk::all(300, &PROVIDERS);
        let messages = |talk: &Talk| {
            let posts = (0..WRITES).filter_map(|nth| talk.post_after(nth)).count();
            2 * talk.writes().count() + posts
        };
        assert_eq!(talks.iter().map(messages).sum::<usize>(), 300);
        assert_eq!(talks.iter().filter(|talk| talk.account == 2).count(), 6);
    }

    #[test]
    fn no_two_talks_share_an_address_or_a_text() {
        let talks = Talk::all(10_000, &PROVIDERS);
        let mut seen = std::collections::BTreeSet::new();
        for talk in &talks {
            assert!(seen.insert(talk.address.clone()));
            for (nth, text) in talk.writes().enumerate() {
                assert_eq!(place(&text), Some(nth));
                assert!(seen.insert(text));
            }
            for text in [talk.late_write(), talk.late_post()] {
                assert!(place(&text).is_some() && seen.insert(text));
            }
        }
        assert_eq!(place("out 7 2"), Some(2));
    }
}
