<?php
// Publishes through the log, for nodes with `--redis-url … --redis-log`. Needs PHP 8 and phpredis (Debian's `php-redis`).
// The tests do not run this one.
$redis = new Redis();
$redis->connect('127.0.0.1', 6379);

/** One event for these channels, kept and sent in one step. Returns its id and how many nodes got it. */
function publish(Redis $redis, array $channels, string $data, array $fields = []): array {
    $envelope = json_encode(['data' => $data] + $fields, JSON_THROW_ON_ERROR);
    $reply = $redis->rawCommand('FCALL', 'fantail_publish', '1', 'fantail-log:{0}', $envelope, ...$channels);
    return $reply ?: throw new RuntimeException($redis->getLastError());
}

[$id, $nodes] = publish($redis, ['demo', 'news'], 'hello', ['event' => 'greeting']);
echo "$id $nodes\n";
