//! A real agent for the end-to-end stories: the Rust MCP SDK with its own OAuth.
//!
//! `rmcp_agent URL` prints one JSON line with the page to open (`{"authorize": …}`), waits on a loopback address
//! for the code, calls the tool `whoami` and prints its answer (`{"whoami": …}`).

use anyhow::Context as _;
use rmcp::{
    ServiceExt as _,
    model::CallToolRequestParams,
    transport::{
        AuthClient, StreamableHttpClientTransport,
        auth::{AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).context("usage: rmcp_agent URL")?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let redirect = format!("http://127.0.0.1:{}/callback", listener.local_addr()?.port());

    let mut state = OAuthState::new(url.as_str(), None).await?;
    state
        .start_authorization(AuthorizationRequest::new(&redirect).with_client_name("Rust agent"))
        .await
        .context("starting the authorization")?;
    println!("{}", json!({ "authorize": state.get_authorization_url().await? }));
    let callback = callback(&listener, &redirect).await?;
    state
        .handle_callback_url(&callback)
        .await
        .context("redeeming the code")?;
    let manager = state.into_authorization_manager().context("not authorized")?;

    #[expect(
        clippy::disallowed_methods,
        reason = "an agent outside the product, which brings its own HTTP client"
    )]
    let client = AuthClient::new(reqwest::Client::new(), manager);
    let transport = StreamableHttpClientTransport::with_client(
        client,
        StreamableHttpClientTransportConfig::with_uri(url),
    );
    let agent = ().serve(transport).await.context("connecting")?;
    let answer = agent
        .call_tool(CallToolRequestParams::new("whoami"))
        .await
        .context("calling the tool")?;
    println!("{}", json!({ "whoami": answer.structured_content }));
    agent.cancel().await?;
    Ok(())
}

/// Waits for the browser to come back and returns the whole URL that it came back to.
async fn callback(listener: &TcpListener, redirect: &str) -> anyhow::Result<String> {
    let origin = redirect.trim_end_matches("/callback");
    loop {
        let (stream, _) = listener.accept().await?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nDone.")
            .await?;
        if target.starts_with("/callback?") {
            return Ok(format!("{origin}{target}"));
        }
    }
}
