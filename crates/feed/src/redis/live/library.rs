//! The text that runs in Redis, in its two forms: a library of functions, and for servers without them a script.
//!
//! Redis keeps the functions with its data. The script it may forget at any time, so every call of it is ready to send
//! the text again.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind, cmd};

/// Grows with every change of the text's behaviour. A library of a later version is left alone.
pub(crate) const VERSION: u64 = 3;

const BODY: &str = include_str!("fantail.lua");

static LIBRARY: LazyLock<String> = LazyLock::new(|| {
    let function = |name: &str, callback: &str, flags: &str| {
        format!(
            "redis.register_function{{ function_name = 'fantail_{name}', callback = {callback}, flags = {{ {flags} }} }}\n"
        )
    };
    let entrance = |body: &str| format!("function(keys, args) return entrance({body}, keys, args) end");
    // Reading must go on when memory is used up; publishing must not.
    let functions = [
        function("publish", &entrance("publish"), ""),
        function("state", &entrance("tell_state"), "'allow-oom'"),
        function("configure", &entrance("configure"), "'allow-oom'"),
        function("above", &entrance("look_above"), "'no-writes'"),
        function("version", &format!("function() return {VERSION} end"), "'no-writes'"),
    ];
    format!("#!lua name=fantail\n{BODY}\n{}", functions.concat())
});

/// Takes the function's name before its arguments and the server's `run_id`, or nothing, behind them.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{BODY}
local bodies = {{ publish = publish, state = tell_state, configure = configure, above = look_above }}
local args, body = {{}}, bodies[ARGV[1]]
if not body then return {{ err = 'ERR fantail: the first argument is publish, state, configure or above' }} end
for at = 2, #ARGV - 1 do args[at - 1] = ARGV[at] end
return entrance(function(keys, rest) return body(keys, rest, ARGV[#ARGV]) end, KEYS, args)
"
    )
});

/// The name of the script once Redis knows it.
static SCRIPT_SHA: LazyLock<String> = LazyLock::new(|| Script::new(&SCRIPT).get_hash().to_owned());

/// How the text is called.
#[derive(Debug, Clone)]
pub(crate) enum Library {
    Functions,
    /// The `run_id` spares the script to ask INFO each time; it is that of the server behind the connection.
    Script {
        run_id: String,
    },
}

impl Library {
    /// Finds out which form the server knows, and loads the functions if they are not there or older than ours.
    pub(crate) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        match version(connection).await {
            Ok(Some(version)) if version >= VERSION => Ok(Self::Functions),
            Ok(Some(_)) => load_functions(connection, true).await,
            Ok(None) => load_functions(connection, false).await,
            Err(error) if is_unknown_command(&error) => Self::script(connection).await,
            Err(error) => Err(error),
        }
    }

    /// The form for servers before Redis 7.
    pub(crate) async fn script(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let info: String = match cmd("INFO").arg("server").query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => String::new(),
            info => info?,
        };
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(Self::Script { run_id: run_id.unwrap_or_default().trim_end().to_owned() })
    }

    #[cfg(test)]
    pub(crate) fn sha() -> &'static str {
        &SCRIPT_SHA
    }

    /// Calls one of the functions on the log of that key. A text that Redis has forgotten is sent again, and then
    /// called once more: it did not run.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        key: &str,
        function: &str,
        arguments: &[&[u8]],
    ) -> RedisResult<T> {
        match self {
            Self::Functions => match call_function(connection, key, function, arguments).await {
                Err(error) if is_not_found(&error) => {
                    Self::load(connection).await?;
                    call_function(connection, key, function, arguments).await
                }
                reply => reply,
            },
            Self::Script { run_id } => {
                let call = |verb: &str, script: &str| {
                    let mut call = cmd(verb);
                    call.arg(script).arg(1).arg(key).arg(function).arg(arguments).arg(run_id);
                    call
                };
                match call("EVALSHA", &SCRIPT_SHA).query_async(connection).await {
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        call("EVAL", &SCRIPT).query_async(connection).await
                    }
                    reply => reply,
                }
            }
        }
    }
}

async fn call_function<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    key: &str,
    function: &str,
    arguments: &[&[u8]],
) -> RedisResult<T> {
    let mut call = cmd("FCALL");
    call.arg(format!("fantail_{function}")).arg(1).arg(key).arg(arguments);
    call.query_async(connection).await
}

/// The version of the functions that are loaded, if they are.
async fn version(connection: &mut MultiplexedConnection) -> RedisResult<Option<u64>> {
    match cmd("FCALL").arg("fantail_version").arg(0).query_async(connection).await {
        Err(error) if is_not_found(&error) => Ok(None),
        version => version.map(Some),
    }
}

async fn load_functions(connection: &mut MultiplexedConnection, is_there: bool) -> RedisResult<Library> {
    let mut load = cmd("FUNCTION");
    load.arg("LOAD");
    // Without the word a library that somebody else loads meanwhile, maybe a later one, stays.
    if is_there {
        load.arg("REPLACE");
    }
    let loaded: RedisResult<String> = load.arg(LIBRARY.as_str()).query_async(connection).await;
    match loaded {
        Err(error) if !is_there && version(connection).await?.is_none() => Err(error),
        Err(error) if is_there => Err(error),
        _ => Ok(Library::Functions),
    }
}

fn is_not_found(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with("Function not found"))
}

fn is_unknown_command(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with("unknown command"))
}
