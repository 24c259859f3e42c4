//! The list of providers: the only place that names them all.

use crate::automation::Automations;
use crate::bsp::Bsp;
use crate::entry::ProviderEntry;
use crate::evolution::Evolution;
use crate::infobip::Infobip;
use crate::telegram::Telegram;
use crate::twilio::Twilio;
use crate::whatsapp::WhatsApp;

/// The simulated providers, in the order in which they are offered a request. `WhatsApp` is the
/// last: it answers every other path, as the Graph API answers unknown paths.
pub const PROVIDERS: &[ProviderEntry] = &[
    ProviderEntry::of::<Telegram>(),
    ProviderEntry::of::<Evolution>(),
    ProviderEntry::of::<Twilio>(),
    ProviderEntry::of::<Infobip>(),
    ProviderEntry::of::<Bsp>(),
    ProviderEntry::of::<Automations>(),
    ProviderEntry::of::<WhatsApp>(),
];
