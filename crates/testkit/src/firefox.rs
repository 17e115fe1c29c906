//! Firefox's command line, and its profile: it opens one page without a window, asks no server of its maker for anything, and
//! trusts the authorities of a test.

use std::{fs, path::Path, process::Command};

use crate::error::{Doing, Error, Result};

/// Preferences, which have no flags.
const PREFERENCES: &str = "
user_pref('app.normandy.enabled', false);
user_pref('app.update.disabledForTesting', true);
user_pref('browser.aboutwelcome.enabled', false);
user_pref('browser.safebrowsing.downloads.remote.enabled', false);
user_pref('browser.safebrowsing.malware.enabled', false);
user_pref('browser.safebrowsing.phishing.enabled', false);
user_pref('browser.shell.checkDefaultBrowser', false);
user_pref('browser.startup.homepage_override.mstone', 'ignore');
user_pref('datareporting.healthreport.uploadEnabled', false);
user_pref('datareporting.policy.dataSubmissionEnabled', false);
user_pref('extensions.update.enabled', false);
user_pref('network.captive-portal-service.enabled', false);
user_pref('network.connectivity-service.enabled', false);
user_pref('network.proxy.type', 0);
user_pref('services.settings.server', 'http://127.0.0.1:1');
user_pref('toolkit.telemetry.unified', false);
";

/// The command that opens `url` with a profile in this empty directory.
pub(crate) fn command(profile: &Path, url: &str, authority: &Path) -> Result<Command> {
    fs::write(profile.join("user.js"), PREFERENCES).doing("writing Firefox's preferences")?;
    trust(profile, authority)?;
    let mut command = Command::new("firefox-esr");
    command.args(["--headless", "--no-remote", "--profile"]).arg(profile).arg(url);
    // Otherwise it also writes below the home directory.
    command.env("HOME", profile);
    Ok(command)
}

fn trust(profile: &Path, authority: &Path) -> Result<()> {
    let database = format!("sql:{}", profile.display());
    let certificate = authority.display().to_string();
    let make = ["-N", "--empty-password"];
    let add = ["-A", "-n", "authority", "-t", "C,,", "-i", &certificate];
    for arguments in [&make[..], &add] {
        let output = Command::new("certutil").args(arguments).args(["-d", &database]).output();
        let output = output.map_err(|source| Error::Missing { program: "certutil".into(), source })?;
        if !output.status.success() {
            return Err(Error::Protocol(format!("certutil: {}", String::from_utf8_lossy(&output.stderr))));
        }
    }
    Ok(())
}
