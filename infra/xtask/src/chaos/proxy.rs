//! Proxy between the functions and the local cloud that injects AWS faults.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    aws_faults::{AwsFaults, Fault, Kind, Service, refusal},
    wire::{self, Message},
};
use crate::error::{Error, Result};

/// Number of failed calls by service and kind of fault.
pub(crate) type Counts = BTreeMap<(Service, Kind), u64>;

/// A running proxy.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    cloud: SocketAddr,
    begun: Instant,
    on: AtomicBool,
    calls: AtomicU64,
    aws_faults: Mutex<AwsFaults>,
    counts: Mutex<Counts>,
}

impl Proxy {
    /// Listens on `port` and forwards to `cloud_port`, both on loopback. Injects no faults until
    /// [`Proxy::set`].
    pub(crate) fn listen(port: u16, cloud_port: u16, aws_faults: AwsFaults) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|_| Error::PortInUse { port, what: "the fault proxy" })?;
        let shared = Arc::new(Shared {
            cloud: (Ipv4Addr::LOCALHOST, cloud_port).into(),
            begun: Instant::now(),
            on: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            aws_faults: Mutex::new(aws_faults),
            counts: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // A broken connection is an expected fault.
                thread::spawn(move || serve(&shared, connection).unwrap_or_default());
            }
        });
        Ok(Self { shared })
    }

    /// Turns fault injection on or off.
    pub(crate) fn set(&self, on: bool) {
        self.shared.on.store(on, Ordering::Relaxed);
    }

    /// Number of calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Number of injected faults so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn fault(&self, service: Service) -> Option<Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut aws_faults = self.aws_faults.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = aws_faults.fault(service, now_ms)?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((service, fault.kind)).or_default() += 1;
        Some(fault)
    }
}

/// Serves a connection until either side or a fault closes it.
fn serve(shared: &Shared, client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut to_client = client.try_clone()?;
    let mut from_client = BufReader::new(client);
    let mut cloud: Option<(TcpStream, BufReader<TcpStream>)> = None;
    loop {
        let send_continue = || to_client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        let Some(request) = wire::read_request(&mut from_client, send_continue)? else {
            return Ok(());
        };
        let service = Service::of(wire::header(&request.head, "x-amz-target"));
        let fault = shared.fault(service);
        match fault.map(|fault| fault.kind) {
            Some(Kind::Dropped) => return Ok(()),
            Some(kind @ (Kind::Throttled | Kind::ServerError)) => {
                let wording = fault.map_or(0, |fault| fault.wording);
                to_client.write_all(&refused(service, kind, wording))?;
                if request.last {
                    return Ok(());
                }
                continue;
            }
            Some(Kind::Slow | Kind::AnswerLost) | None => {}
        }
        let (to_cloud, from_cloud) = match &mut cloud {
            Some(connected) => connected,
            none => {
                let stream = TcpStream::connect(shared.cloud)?;
                stream.set_nodelay(true)?;
                none.insert((stream.try_clone()?, BufReader::new(stream)))
            }
        };
        pass_on(to_cloud, &request)?;
        let answer = wire::read_answer(from_cloud, wire::method(&request.head))?;
        match fault {
            Some(Fault { kind: Kind::AnswerLost, .. }) => return Ok(()),
            Some(fault) => thread::sleep(Duration::from_millis(fault.delay_ms)),
            None => {}
        }
        pass_on(&mut to_client, &answer)?;
        if request.last || answer.last {
            return Ok(());
        }
    }
}

/// Sends a message in one write, so that no part waits for a delayed acknowledgement.
fn pass_on(to: &mut TcpStream, message: &Message) -> io::Result<()> {
    to.write_all(&[message.head.as_slice(), message.body.as_slice()].concat())
}

fn refused(service: Service, kind: Kind, wording: u64) -> Vec<u8> {
    let refusal = refusal(service, kind, wording);
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         x-amzn-requestid: made-up\r\n\r\n",
        refusal.status,
        refusal.content_type,
        refusal.body.len()
    );
    [head.into_bytes(), refusal.body.into_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{super::rng::Rng, *};

    /// Starts a fake cloud that counts requests and responds to each, with a proxy before it.
    fn start(rate: f64) -> (Proxy, Arc<AtomicU64>, u16) {
        let cloud = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let cloud_port = cloud.local_addr().unwrap().port();
        let received = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&received);
        thread::spawn(move || {
            for stream in cloud.incoming().flatten() {
                let counted = Arc::clone(&counted);
                thread::spawn(move || {
                    let mut to = stream.try_clone().unwrap();
                    let mut from = BufReader::new(stream);
                    while let Ok(Some(_)) = wire::read_request(&mut from, || Ok(())) {
                        counted.fetch_add(1, Ordering::SeqCst);
                        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").unwrap();
                    }
                });
            }
        });
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let aws_faults = AwsFaults::new(rate, Rng::new(5, 0));
        (Proxy::listen(port, cloud_port, aws_faults).unwrap(), received, port)
    }

    /// Sends one request on a new connection. Returns the response, or an empty string.
    fn call(port: u16) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\
                  x-amz-target: AmazonSQS.SendMessage\r\n\r\n{}",
            )
            .unwrap();
        let mut answer = String::new();
        // A closed connection ends the response.
        stream.read_to_string(&mut answer).unwrap_or_default();
        answer
    }

    #[test]
    fn no_faults_are_injected_until_they_are_turned_on() {
        let (proxy, received, port) = start(1.0);
        assert!((0..20).all(|_| call(port).ends_with("done")));
        assert_eq!((proxy.calls(), received.load(Ordering::SeqCst)), (20, 20));
        assert!(proxy.counts().is_empty());
    }

    #[test]
    fn execution_and_response_match_the_kind_of_fault() {
        let (proxy, received, port) = start(1.0);
        proxy.set(true);
        let mut before = BTreeMap::new();
        for _ in 0..16 {
            let done = received.load(Ordering::SeqCst);
            let answer = call(port);
            let done = received.load(Ordering::SeqCst) - done;
            let counts = proxy.counts();
            let ((_, kind), _) =
                counts.iter().find(|(fault, count)| before.get(*fault) != Some(*count)).unwrap();
            match kind {
                Kind::Throttled | Kind::ServerError => {
                    assert!(done == 0 && answer.contains("__type"), "{answer}");
                }
                Kind::Slow => assert!(done == 1 && answer.ends_with("done"), "{answer}"),
                Kind::Dropped => assert!(done == 0 && answer.is_empty(), "{answer}"),
                Kind::AnswerLost => assert!(done == 1 && answer.is_empty(), "{answer}"),
            }
            before = counts;
        }
        assert!(before.keys().all(|(service, _)| *service == Service::Sqs));
    }
}
