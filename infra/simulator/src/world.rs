//! Everything the simulator knows.

use std::collections::BTreeMap;

use crate::automation::Automation;
use crate::bsp;
use crate::evolution::Instance;
use crate::ids::Ids;
use crate::infobip;
use crate::log::{Log, Scene};
use crate::telegram::Bot;
use crate::twilio::Account as TwilioAccount;
use crate::whatsapp::Number;

/// The numbers, the bots, the automations and what happened to them.
#[derive(Debug)]
pub struct World {
    /// By phone number id.
    pub numbers: BTreeMap<String, Number>,
    /// By bot id.
    pub bots: BTreeMap<i64, Bot>,
    /// Twilio's, by account SID.
    pub twilio_accounts: BTreeMap<String, TwilioAccount>,
    /// Evolution's, by name.
    pub instances: BTreeMap<String, Instance>,
    /// By name.
    pub automations: BTreeMap<String, Automation>,
    /// Infobip's senders, by number.
    pub infobip: BTreeMap<String, infobip::Sender>,
    /// The BSP's accounts, by name.
    pub bsp: BTreeMap<String, bsp::Account>,
    /// Makes ids.
    pub ids: Ids,
    /// What happened.
    pub log: Log,
    /// Counts the resets: what was planned before one is void.
    pub epoch: u64,
    /// Above every number that a forgotten bot has used.
    telegram_base: i64,
}

impl World {
    /// An empty world that begins at `now_ms`.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        let ids = Ids::new(now_ms);
        Self {
            numbers: BTreeMap::new(),
            bots: BTreeMap::new(),
            twilio_accounts: BTreeMap::new(),
            instances: BTreeMap::new(),
            automations: BTreeMap::new(),
            infobip: BTreeMap::new(),
            bsp: BTreeMap::new(),
            telegram_base: ids.telegram_base(),
            ids,
            log: Log::default(),
            epoch: 0,
        }
    }

    /// Forgets everything but which ids were used.
    pub fn reset(&mut self) {
        self.telegram_base = self.new_bot_base();
        self.numbers.clear();
        self.bots.clear();
        self.twilio_accounts.clear();
        self.instances.clear();
        self.automations.clear();
        self.infobip.clear();
        self.bsp.clear();
        self.log.clear();
        self.epoch += 1;
    }

    /// Where the numbers of a new bot begin.
    #[must_use]
    pub fn new_bot_base(&self) -> i64 {
        let used = self.bots.values().map(Bot::highest_number).max();
        used.unwrap_or(0).max(self.telegram_base)
    }
}

/// Borrows a part of the world together with what its rules need.
macro_rules! scene {
    ($world:expr, $now_ms:expr) => {
        Scene { now_ms: $now_ms, ids: &mut $world.ids, log: &mut $world.log }
    };
}

impl World {
    /// Runs `act` on a number, if there is one.
    pub fn number<T>(
        &mut self,
        now_ms: i64,
        id: &str,
        act: impl FnOnce(&mut Number, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let number = self.numbers.get_mut(id)?;
        Some(act(number, &mut scene!(self, now_ms)))
    }

    /// Runs `act` on a bot, if there is one.
    pub fn bot<T>(
        &mut self,
        now_ms: i64,
        id: i64,
        act: impl FnOnce(&mut Bot, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let bot = self.bots.get_mut(&id)?;
        Some(act(bot, &mut scene!(self, now_ms)))
    }

    /// Runs `act` on one of Twilio's accounts, if there is one.
    pub fn twilio_account<T>(
        &mut self,
        now_ms: i64,
        sid: &str,
        act: impl FnOnce(&mut TwilioAccount, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let account = self.twilio_accounts.get_mut(sid)?;
        Some(act(account, &mut scene!(self, now_ms)))
    }

    /// Runs `act` on an Infobip sender, if there is one.
    pub fn infobip<T>(
        &mut self,
        now_ms: i64,
        number: &str,
        act: impl FnOnce(&mut infobip::Sender, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let sender = self.infobip.get_mut(number)?;
        Some(act(sender, &mut scene!(self, now_ms)))
    }

    /// Runs `act` on a BSP's account, if there is one.
    pub fn bsp<T>(
        &mut self,
        now_ms: i64,
        name: &str,
        act: impl FnOnce(&mut bsp::Account, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let account = self.bsp.get_mut(name)?;
        Some(act(account, &mut scene!(self, now_ms)))
    }

    /// Runs `act` on an instance of Evolution, if there is one.
    pub fn instance<T>(
        &mut self,
        now_ms: i64,
        name: &str,
        act: impl FnOnce(&mut Instance, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let instance = self.instances.get_mut(name)?;
        Some(act(instance, &mut scene!(self, now_ms)))
    }

    /// Runs `act` on an automation, if there is one.
    pub fn automation<T>(
        &mut self,
        now_ms: i64,
        name: &str,
        act: impl FnOnce(&mut Automation, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let automation = self.automations.get_mut(name)?;
        Some(act(automation, &mut scene!(self, now_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_forgets_all_but_the_used_numbers() {
        let mut world = World::new(1_795_000_000_000);
        let base = world.new_bot_base();
        let settings = serde_json::from_value(serde_json::json!({"token": "1:abc"})).unwrap();
        world.bots.insert(1, Bot::new(1, settings, base + 10));
        world.reset();
        assert!(world.bots.is_empty());
        assert_eq!((world.epoch, world.new_bot_base()), (1, base + 10));
    }
}
