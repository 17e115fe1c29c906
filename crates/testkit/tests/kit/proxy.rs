//! The fault proxy between a client and an echo server.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use fantail_testkit::{Direction, FaultProxy, PATIENCE, RedisServer, Reply, RespConnection, proxy::Cut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Long enough for loopback to deliver bytes that are not held back.
const A_MOMENT: Duration = Duration::from_millis(60);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    addr
}

async fn started() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::start(echo().await).unwrap();
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    (proxy, client)
}

async fn echoes(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).await.unwrap();
    receives(client, bytes).await;
}

async fn receives(client: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    timeout(PATIENCE, client.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, bytes);
}

async fn hears_nothing(client: &mut TcpStream) {
    assert!(timeout(A_MOMENT, client.read_u8()).await.is_err(), "something came through");
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_end_passes_too() {
    let (proxy, mut client) = started().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let (mut from, mut to) = client.split();
    let mut back = Vec::new();
    let send = async {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(from.read_to_end(&mut back), send);
    read.unwrap();
    assert_eq!(back, bytes);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_pause_holds_everything_and_loses_nothing() {
    let (proxy, mut client) = started().await;
    echoes(&mut client, b"before").await;
    proxy.pause();
    client.write_all(b"held").await.unwrap();
    hears_nothing(&mut client).await;
    proxy.resume();
    receives(&mut client, b"held").await;
}

#[tokio::test]
async fn a_pause_of_one_direction_lets_the_other_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).unwrap();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    proxy.pause_direction(Direction::ToTarget);
    client.write_all(b"up").await.unwrap();
    server.write_all(b"down").await.unwrap();
    receives(&mut client, b"down").await;
    hears_nothing(&mut server).await;
    proxy.pass();
    receives(&mut server, b"up").await;
    proxy.pause_direction(Direction::FromTarget);
    client.write_all(b"up").await.unwrap();
    server.write_all(b"down").await.unwrap();
    receives(&mut server, b"up").await;
    hears_nothing(&mut client).await;
}

#[tokio::test]
async fn a_clean_cut_is_an_end_and_a_reset_is_an_error() {
    for how in [Cut::Fin, Cut::Reset] {
        let (proxy, mut client) = started().await;
        echoes(&mut client, b"alive").await;
        assert_eq!(proxy.connections(), 1);
        proxy.cut(how).await.unwrap();
        assert_eq!(proxy.connections(), 0);
        let end = timeout(PATIENCE, client.read(&mut [0; 8])).await.unwrap();
        match how {
            Cut::Fin => assert_eq!(end.unwrap(), 0),
            Cut::Reset => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
        echoes(&mut next, b"a new one passes").await;
    }
}

#[tokio::test]
async fn a_refusing_proxy_refuses_new_connections_only() {
    let (proxy, mut client) = started().await;
    echoes(&mut client, b"before").await;
    proxy.refuse().await.unwrap();
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    echoes(&mut client, b"still there").await;
    proxy.accept().await.unwrap();
    let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
    echoes(&mut next, b"after").await;
    proxy.wait_for_accepted(2).await.unwrap();
}

#[tokio::test]
async fn a_delay_is_felt_in_each_direction() {
    let (proxy, mut client) = started().await;
    proxy.delay(A_MOMENT);
    let start = Instant::now();
    echoes(&mut client, b"slowly").await;
    // A lower bound only: the delay is the proxy's own doing, not the machine's.
    assert!(start.elapsed() >= A_MOMENT * 2);
}

#[tokio::test]
async fn sliced_bytes_arrive_in_pieces_and_whole() {
    let (proxy, mut client) = started().await;
    proxy.slice(1, Duration::from_millis(2));
    client.write_all(b"piecemeal").await.unwrap();
    let (mut back, mut reads) = (Vec::new(), 0);
    while back.len() < 9 {
        assert_ne!(timeout(PATIENCE, client.read_buf(&mut back)).await.unwrap().unwrap(), 0);
        reads += 1;
    }
    assert_eq!(back, b"piecemeal");
    assert!(reads > 1, "it came in one piece");
}

#[tokio::test]
async fn an_unreachable_target_is_a_reset_and_another_target_can_take_over() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = FaultProxy::start(gone).unwrap();
    // The reset may be there before the client has looked at its connection for the first time.
    let ended = async { TcpStream::connect(proxy.addr()).await?.read_u8().await };
    let end = timeout(PATIENCE, ended).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    proxy.retarget(echo().await);
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    echoes(&mut client, b"taken over").await;
}

#[tokio::test]
async fn a_dropped_proxy_takes_its_connections_along() {
    let (proxy, mut client) = started().await;
    echoes(&mut client, b"alive").await;
    let addr = proxy.addr();
    drop(proxy);
    assert!(matches!(timeout(PATIENCE, client.read(&mut [0; 8])).await.unwrap(), Ok(0) | Err(_)));
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_through_it_and_lost_through_a_cut() {
    let redis = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(redis.addr()).unwrap();
    let mut connection = RespConnection::connect(proxy.addr()).await.unwrap();
    assert_eq!(connection.command(&["PING"]).await.unwrap(), Reply::Simple("PONG".into()));
    proxy.cut(Cut::Reset).await.unwrap();
    assert!(connection.command(&["PING"]).await.is_err());
}

#[tokio::test]
async fn a_bound_on_bytes_lets_just_so_many_through_and_cuts() {
    for bound in [0_u64, 1, 9, 10] {
        for how in [Cut::Fin, Cut::Reset] {
            let proxy = FaultProxy::start(echo().await).unwrap();
            proxy.cut_after(bound, how);
            let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
            client.write_all(b"0123456789").await.unwrap();
            let mut back = Vec::new();
            let end = timeout(PATIENCE, client.read_to_end(&mut back)).await.unwrap();
            assert_eq!(back, b"0123456789"[..bound as usize], "{how:?} after {bound}");
            assert_eq!(end.is_ok(), how == Cut::Fin, "{how:?} after {bound}: {end:?}");
        }
    }
}

#[tokio::test]
async fn forged_bytes_come_before_what_the_target_says_and_an_endless_forgery_ends_with_its_fault() {
    let (proxy, mut client) = started().await;
    proxy.forge(*b"forged ");
    client.write_all(b"true").await.unwrap();
    receives(&mut client, b"forged true").await;
    proxy.forge_endlessly(*b"ab");
    client.write_all(b"!").await.unwrap();
    receives(&mut client, &b"ab".repeat(100_000)).await;
    proxy.pass();
    let mut back = Vec::new();
    while !back.ends_with(b"!") {
        back.push(timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap());
    }
    echoes(&mut client, b"true again").await;
}
