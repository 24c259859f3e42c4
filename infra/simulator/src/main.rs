//! Runs the provider simulator.

use std::net::SocketAddr;

use clap::Parser;
use simulator::clock::Clock;
use simulator::deliver::App;
use simulator::server;
use tokio::net::TcpListener;

/// Simulates WhatsApp, Telegram, Evolution, Twilio, Infobip, a BSP and a tenant's automation.
#[derive(Parser)]
struct Options {
    /// Address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:8788")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let listener = TcpListener::bind(options.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "simulator is listening");
    tokio::select! {
        ended = server::serve(listener, App::new(Clock::Machine)) => ended?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    Ok(())
}
