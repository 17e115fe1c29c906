//! A scanner that tries every version, cipher and known attack.

use std::process::Command;

use fantail_testkit::PATIENCE;
use fantail_testkit::child::Child;

use crate::{FETCH_PATIENCE, Served, built, whole_output};

/// The scanner's lines about a sound server.
const SOUND: [&str; 9] = [
    "OK - Compression disabled",
    "OK - Not vulnerable to OpenSSL CCS injection",
    "OK - Not vulnerable to Heartbleed",
    "TLS_FALLBACK_SCSV: OK - Supported",
    "Client Renegotiation DoS Attack: OK - Not vulnerable",
    "Secure Renegotiation: OK - Supported",
    "Forward Secrecy OK - Supported",
    "Legacy RC4 Algorithm OK - Not Supported",
    "TLS 1.3 Early Data: Not Supported",
];

/// Mozilla's recommendation also judges the certificate, which is one of a test.
const ABOUT_THE_CERTIFICATE: [&str; 2] = ["certificate_path_validation", "maximum_certificate_lifespan"];

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn sslyze_finds_tls_1_2_and_1_3_alone_no_weak_cipher_and_nothing_that_mozilla_advises_against() {
    let (served, packages) = (Served::start().await, built().join("sslyze"));
    if !packages.join("sslyze").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).arg("sslyze");
        assert!(Child::spawn("pip", &mut pip).unwrap().wait(FETCH_PATIENCE).await.unwrap().success());
    }
    let mut sslyze = Command::new("python3");
    sslyze.env("PYTHONPATH", &packages).args(["-m", "sslyze", "--mozilla_config", "intermediate", "--early_data"]);
    sslyze.arg("--certinfo_ca_file").arg(served.certificates.ca()).arg(format!("localhost:{}", served.port));
    let mut scan = Child::spawn("sslyze", &mut sslyze).unwrap();
    scan.wait(PATIENCE).await.unwrap();
    let told = whole_output(&mut scan).await;
    let text = told.split_whitespace().collect::<Vec<_>>().join(" ");

    assert_eq!(text.matches("the server rejected all cipher suites").count(), 4, "SSL and the oldest TLS: {told}");
    assert_eq!(text.matches("The server accepted the following 3 cipher suites").count(), 2, "{told}");
    for sound in SOUND {
        assert!(text.contains(sound), "{sound}: {told}");
    }
    let (_, advice) = told.split_once("COMPLIANCE AGAINST").expect("it judges");
    let against: Vec<_> = advice.lines().filter_map(|line| line.trim().strip_prefix("* ")).collect();
    let is_about_the_certificate = |line: &&&str| ABOUT_THE_CERTIFICATE.iter().any(|about| line.starts_with(about));
    assert_eq!(against.iter().filter(|line| !is_about_the_certificate(line)).count(), 0, "{against:?}");
}
