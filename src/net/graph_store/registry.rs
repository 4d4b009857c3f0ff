//! Samplers, channels and leases of a server. No clock, no threads: the time is an argument, since any start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::store::{ChannelPlan, Epoch, SamplerSpec, StoreError, Window};

/// Limits of a registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most channels.
    pub channels: u64,
    /// Most bytes of the seeds that clients list.
    pub seed_bytes: u64,
    /// Time after which the channels of a silent client are closed.
    pub lease: Duration,
}

/// Samplers and channels. Numbers begin at a random one, so that those of an earlier process are unknown.
#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    first: u64,
    next: u64,
    samplers: HashMap<String, OpenSampler>,
    channels: HashMap<u64, OpenChannel>,
    clients: HashMap<String, Client>,
    draining: bool,
}

#[derive(Debug)]
struct OpenSampler {
    number: u64,
    spec: Arc<SamplerSpec>,
    channels: u64,
    /// Time of the last request.
    touched: Duration,
}

#[derive(Debug)]
struct OpenChannel {
    client: String,
    name: String,
    plan: Arc<ChannelPlan>,
    window: Window,
    progress: Arc<Progress>,
    epoch: Option<Epoch>,
}

#[derive(Debug, Default)]
struct Client {
    /// Channels by name.
    channels: HashMap<String, u64>,
    /// Fetches that are open, which prolong the lease.
    fetches: u64,
    /// Time of the last call.
    touched: Duration,
}

/// State of a channel that its fetches read.
#[derive(Debug, Default)]
pub(super) struct Progress {
    epoch: AtomicU64,
    /// Whether the epoch has begun and its end is not sent.
    running: AtomicBool,
    closed: AtomicBool,
}

impl Progress {
    /// Number of the current epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Notes that the end of the epoch is sent.
    pub fn finish(&self, epoch: u64) {
        if self.epoch() == epoch {
            self.running.store(false, Ordering::Release);
        }
    }
}

/// Everything that a fetch needs.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub client: String,
    pub plan: Arc<ChannelPlan>,
    pub window: Window,
    pub epoch: Epoch,
    pub progress: Arc<Progress>,
}

/// Counts of a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub samplers: u64,
    pub channels: u64,
    pub clients: u64,
    /// Channels whose epoch runs.
    pub running: u64,
}

impl Registry {
    /// Makes a registry whose numbers begin at `first`.
    pub fn new(limits: Limits, first: u64) -> Registry {
        Registry {
            limits,
            first,
            next: first,
            samplers: HashMap::new(),
            channels: HashMap::new(),
            clients: HashMap::new(),
            draining: false,
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Opens a sampler, or finds the open one.
    ///
    /// # Errors
    /// If another sampler has the key, or the server drains.
    pub fn open_sampler(&mut self, spec: SamplerSpec, now: Duration) -> Result<u64, StoreError> {
        if let Some(open) = self.samplers.get_mut(&spec.key) {
            open.touched = now;
            return match open.spec.difference(&spec) {
                None => Ok(open.number),
                Some(field) => {
                    let key = spec.key;
                    Err(StoreError::KeyTaken { key, field })
                }
            };
        }
        if self.draining {
            return Err(StoreError::Draining);
        }
        self.limit(
            "samplers",
            self.samplers.len() as u64 + 1,
            self.limits.channels,
        )?;
        let number = self.number();
        let open = OpenSampler {
            number,
            spec: Arc::new(spec),
            channels: 0,
            touched: now,
        };
        self.samplers.insert(open.spec.key.clone(), open);
        Ok(number)
    }

    fn limit(&self, what: &'static str, found: u64, most: u64) -> Result<(), StoreError> {
        match found <= most {
            true => Ok(()),
            false => Err(StoreError::Limit { what, found, most }),
        }
    }

    /// Settings of a sampler.
    ///
    /// # Errors
    /// If the sampler is not open.
    pub fn sampler(&self, number: u64) -> Result<Arc<SamplerSpec>, StoreError> {
        let mut open = self.samplers.values();
        let open = open.find(|open| open.number == number);
        let open = open.ok_or(StoreError::UnknownSampler(number))?;
        Ok(Arc::clone(&open.spec))
    }

    /// Opens a channel of a sampler, or finds the client's open one of that name.
    ///
    /// # Errors
    /// If the client has another channel of that name, the server drains, or there are too many channels.
    pub fn open_channel(
        &mut self,
        client: &str,
        name: &str,
        plan: ChannelPlan,
        window: Window,
        now: Duration,
    ) -> Result<u64, StoreError> {
        if let Some(open) = self.clients.get_mut(client)
            && let Some(&number) = open.channels.get(name)
        {
            open.touched = now;
            return match self.channels[&number].plan.difference(&plan) {
                None => Ok(number),
                Some(field) => Err(StoreError::NameTaken {
                    name: name.to_owned(),
                    field,
                }),
            };
        }
        if self.draining {
            return Err(StoreError::Draining);
        }
        self.limit(
            "channels",
            self.channels.len() as u64 + 1,
            self.limits.channels,
        )?;
        let of_seeds = |plan: &ChannelPlan| plan.bytes();
        let taken: u64 = self
            .channels
            .values()
            .map(|open| of_seeds(&open.plan))
            .sum();
        self.limit(
            "bytes of listed seeds",
            taken + of_seeds(&plan),
            self.limits.seed_bytes,
        )?;
        let Some(sampler) = self.samplers.get_mut(&plan.sampler().key) else {
            return Err(StoreError::UnknownSampler(0));
        };
        sampler.channels += 1;
        let number = self.number();
        let owner = self.clients.entry(client.to_owned()).or_default();
        owner.channels.insert(name.to_owned(), number);
        owner.touched = now;
        let open = OpenChannel {
            client: client.to_owned(),
            name: name.to_owned(),
            plan: Arc::new(plan),
            window,
            progress: Arc::default(),
            epoch: None,
        };
        self.channels.insert(number, open);
        Ok(number)
    }

    /// Finds an open channel; `None` if it is closed.
    fn find(&mut self, number: u64, now: Duration) -> Result<Option<&mut OpenChannel>, StoreError> {
        if !(self.first..self.next).contains(&number) {
            return Err(StoreError::UnknownChannel(number));
        }
        let Some(open) = self.channels.get_mut(&number) else {
            return Ok(None);
        };
        if let Some(client) = self.clients.get_mut(&open.client) {
            client.touched = now;
        }
        Ok(Some(open))
    }

    /// Begins an epoch; `None` if the channel is closed. An epoch at or below the current one changes nothing.
    ///
    /// # Errors
    /// If the channel is unknown, or the server drains.
    pub fn start(
        &mut self,
        number: u64,
        epoch: u64,
        now: Duration,
    ) -> Result<Option<Epoch>, StoreError> {
        let draining = self.draining;
        let Some(open) = self.find(number, now)? else {
            return Ok(None);
        };
        match open.epoch {
            Some(current) if epoch <= current.epoch => Ok(Some(current)),
            _ if draining => Err(StoreError::Draining),
            _ => {
                let begun = open.plan.epoch(epoch);
                open.epoch = Some(begun);
                open.progress.epoch.store(epoch, Ordering::Release);
                open.progress.running.store(true, Ordering::Release);
                Ok(Some(begun))
            }
        }
    }

    /// Begins a fetch of the current epoch; `None` if the channel is closed.
    ///
    /// # Errors
    /// If the channel is unknown, has not begun an epoch, or is in another one.
    pub fn attach(
        &mut self,
        number: u64,
        asked: u64,
        now: Duration,
    ) -> Result<Option<Attached>, StoreError> {
        let Some(open) = self.find(number, now)? else {
            return Ok(None);
        };
        let epoch = open.epoch.ok_or(StoreError::NotStarted)?;
        if epoch.epoch != asked {
            let current = epoch.epoch;
            return Err(StoreError::OtherEpoch { asked, current });
        }
        let attached = Attached {
            client: open.client.clone(),
            plan: Arc::clone(&open.plan),
            window: open.window,
            epoch,
            progress: Arc::clone(&open.progress),
        };
        if let Some(client) = self.clients.get_mut(&attached.client) {
            client.fetches += 1;
        }
        Ok(Some(attached))
    }

    /// Ends a fetch of a client.
    pub fn detach(&mut self, client: &str, now: Duration) {
        if let Some(client) = self.clients.get_mut(client) {
            client.fetches = client.fetches.saturating_sub(1);
            client.touched = now;
        }
    }

    /// Closes a channel, if it is open. The sampler ends with its last channel.
    pub fn close(&mut self, number: u64, now: Duration) {
        let Some(open) = self.channels.remove(&number) else {
            return;
        };
        open.progress.closed.store(true, Ordering::Release);
        let key = &open.plan.sampler().key;
        if let Some(sampler) = self.samplers.get_mut(key) {
            sampler.channels -= 1;
            sampler.touched = now;
            if sampler.channels == 0 {
                self.samplers.remove(key);
            }
        }
        if let Some(client) = self.clients.get_mut(&open.client) {
            client.channels.remove(&open.name);
            client.touched = now;
            if client.channels.is_empty() && client.fetches == 0 {
                self.clients.remove(&open.client);
            }
        }
    }

    /// Prolongs the lease of a client. Returns the number of its channels.
    pub fn renew(&mut self, client: &str, now: Duration) -> u64 {
        let Some(client) = self.clients.get_mut(client) else {
            return 0;
        };
        client.touched = now;
        client.channels.len() as u64
    }

    /// Closes the channels of clients whose lease has ended, and returns their number. A fetch that is open prolongs the
    /// lease of its client: dead connections end by themselves.
    pub fn expire(&mut self, now: Duration) -> u64 {
        let lease = self.limits.lease;
        let ended = |touched: Duration| now.saturating_sub(touched) > lease;
        let lapsed = self.clients.values();
        let lapsed = lapsed.filter(|client| client.fetches == 0 && ended(client.touched));
        let channels: Vec<u64> = lapsed
            .flat_map(|client| client.channels.values().copied())
            .collect();
        for &channel in &channels {
            self.close(channel, now);
        }
        self.clients
            .retain(|_, client| !client.channels.is_empty() || client.fetches > 0);
        self.samplers
            .retain(|_, sampler| sampler.channels > 0 || !ended(sampler.touched));
        channels.len() as u64
    }

    /// Refuses new samplers, channels and epochs from now on. Returns the number of epochs that run.
    pub fn drain(&mut self) -> u64 {
        self.draining = true;
        self.counts().running
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    pub fn counts(&self) -> Counts {
        let running = |open: &&OpenChannel| open.progress.running.load(Ordering::Acquire);
        Counts {
            samplers: self.samplers.len() as u64,
            channels: self.channels.len() as u64,
            clients: self.clients.len() as u64,
            running: self.channels.values().filter(running).count() as u64,
        }
    }
}
