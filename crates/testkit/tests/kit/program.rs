//! The runner of the fantail program, tried on a shell that plays it.

use fantail_testkit::{Fantail, PATIENCE, Signal};

const TELL: &str = "echo 'public  http://127.0.0.1:4001/sse'; echo 'internal http://127.0.0.1:4002'";

async fn play(script: &str, env: &[(&str, &str)]) -> Result<Fantail, fantail_testkit::Error> {
    Fantail::start("/bin/sh", &["-c", script, "fantail"], env).await
}

#[tokio::test]
async fn the_printed_addresses_are_found() {
    let fantail = play(&format!("{TELL}; exec sleep 600"), &[]).await.unwrap();
    assert_eq!(fantail.public().to_string(), "127.0.0.1:4001");
    assert_eq!(fantail.internal().to_string(), "127.0.0.1:4002");
}

#[tokio::test]
async fn a_node_listens_on_ports_from_the_system_unless_told_otherwise() {
    let script = format!("echo \"$@ $FANTAIL_X\"; {TELL}; exec sleep 600");
    let fantail = play(&script, &[("FANTAIL_X", "set")]).await.unwrap();
    let told = fantail.output().stdout;
    assert_eq!(told.lines().next(), Some("--listen 127.0.0.1:0 --internal-listen 127.0.0.1:0 set"));
    let arguments = ["-c", &script, "fantail", "--listen=127.0.0.1:9", "--internal-listen", "127.0.0.1:8"];
    let fantail = Fantail::start("/bin/sh", &arguments, &[]).await.unwrap();
    let told = fantail.output().stdout;
    assert_eq!(told.lines().next().map(str::trim), Some("--listen=127.0.0.1:9 --internal-listen 127.0.0.1:8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_it_and_its_status_is_told() {
    // The trap is set before the addresses are printed, so the signal cannot come too early.
    let script = format!("trap 'echo drained >&2; exit 7' TERM; {TELL}; while :; do sleep 0.01; done");
    let mut fantail = play(&script, &[]).await.unwrap();
    fantail.signal(Signal::TERM).unwrap();
    assert_eq!(fantail.wait(PATIENCE).await.unwrap().code(), Some(7));
    fantail.wait_for_output("drained", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_program_that_ends_early_shows_its_last_words() {
    let error = play("echo 'fantail: bad setting' >&2; exit 2", &[]).await.unwrap_err().to_string();
    assert!(error.contains("bad setting") && error.contains("ended before"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_meant_to_end_gives_status_and_output() {
    let (status, output) =
        Fantail::run_to_end("/bin/sh", &["-c", "echo out; echo err >&2; exit 2"], &[]).await.unwrap();
    assert_eq!((status.code(), output.stdout.as_str(), output.stderr.as_str()), (Some(2), "out\n", "err\n"));
}
