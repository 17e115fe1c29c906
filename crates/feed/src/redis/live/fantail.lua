-- The log of events in Redis: it numbers an event, keeps it in the Stream of each of its channels, and publishes it.
--
-- Loaded as a library of functions (Redis 7), or run as a script with the same text (Redis 6.2). Redis runs it alone,
-- from its start to its end, but takes nothing back if it fails in the middle. So everything that can be refused is
-- tried before anyone could see it, and what cannot be taken back comes last.
--
-- What holds, and what a reader may rely on:
--   * Numbers rise within a term. A number may be left out, and never means two events.
--   * The sorted set of tops knows each channel's newest number. A channel that is not in it has none above `horizon`.
--   * An entry and a message carry `p`, the number before theirs in their channel, or the horizon if that is not known.
--     So nothing is missing between two places of a channel if no `p` in between is above the place before it.
--   * `last` is the newest number in the tops. If they say otherwise they were lost or set back, and the horizon is raised
--     to the newest number: then nothing is known about the past, and nobody claims to know it. So a top below the horizon
--     tells nothing.
--   * A term's numbers never go back. Where somebody sets all keys back at once (SWAPDB, RESTORE) they agree with each
--     other, and only those who saw the numbers know better: this library while it is loaded, and nodes, which say how far
--     they have seen.
--
-- In a cluster all keys of a log are in one slot. While that is moved to another server each key is here or there, and
-- what is not here is refused, by Redis itself at the server that the slot leaves: so everything that is written is read
-- before a number is taken. At the other one a key that is still to come looks as if it did not exist; there nothing that
-- follows from a missing key is done until the slot has come.

local TERM_CHARS = 'abcdefghijklmnopqrstuvwxyz234567'
local TERMS_ENDED_MAX = 64
local EVENTS_MAX, AGE_MS = 10000, 86400000
local TOPS_MAX = 1048576
local CHANNELS_MAX, CHANNEL_BYTES_MAX = 128, 255
local LANE_BYTES_MAX = 32
local LANES_REMEMBERED_MAX = 1024
local TYPE_BYTES_MAX, ID_BYTES_MAX, RETRY_MS_MAX = 255, 128, 86400000
-- Lua has no integers of its own: above this, numbers would begin to skip.
local NUMBER_MAX = 9007199254740991

-- This Redis process, and when it loaded this library. A replica that is filled anew from its master loads its
-- libraries anew, too, so a server that lost what it had does not go on in its old term.
local process, loaded
-- Whether this is a node of a cluster.
local is_clustered
-- Of each lane the term and the newest number that this library has written. A script begins without it each time.
local written, lanes_written = {}, 0

-- Errors ---------------------------------------------------------------------------------------------------------

local function fail(text)
  error({ fault = 'ERR fantail: ' .. text }, 0)
end

-- What Redis says when it does not carry out a command, so that whoever reads it knows what to do.
-- Redis 6.2 puts a place in the script before it.
local function refusal(reason, command, key)
  local what = command .. (key and ' ' .. key or '')
  local said = string.gsub(string.gsub(reason, '^@user_script:%s*%d+:%s*', ''), '^%-', '')
  local code = string.match(said, '^(%u+) ')
  if code == 'WRONGTYPE' then
    return 'ERR fantail: the key ' .. key .. ' holds something else; delete or rename it'
  elseif code == 'NOPERM' or string.find(said, "user executing the script can't", 1, true) then
    return 'ERR fantail: this user may not ' .. what .. '; extend its ACL'
  elseif string.find(said, 'non local key', 1, true) then
    return 'TRYAGAIN fantail: the slot of the log is being moved to another server; publish again soon'
  elseif string.find(said, 'the cluster is down', 1, true) then
    return 'CLUSTERDOWN fantail: the cluster is down; publish again soon'
  elseif code and code ~= 'ERR' then
    return said
  end
  return 'ERR fantail: redis refused ' .. what .. ': ' .. string.gsub(said, '^ERR ', '')
end

local function refused(reply)
  return type(reply) == 'table' and reply.err
end

local function call(command, key, ...)
  local reply
  if key then reply = redis.pcall(command, key, ...) else reply = redis.pcall(command) end
  if refused(reply) then error({ fault = refusal(reply.err, command, key) }, 0) end
  return reply
end

-- Runs `body`, and answers with its error as it stands, without the place in this text that Redis would add.
local function entrance(body, keys, args)
  local ok, reply = pcall(body, keys, args)
  if ok then return reply end
  if type(reply) == 'table' then return { err = reply.fault or reply.err } end
  return { err = 'ERR fantail: ' .. tostring(reply) }
end

-- Numbers and time -----------------------------------------------------------------------------------------------

local function integer(text)
  if type(text) ~= 'string' or #text > 16 or not string.find(text, '^%d+$') then return nil end
  local number = tonumber(text)
  if number > NUMBER_MAX then return nil end
  return number
end

-- All digits: Lua's own way to write a number keeps fourteen.
local function digits(number)
  return string.format('%d', number)
end

local function now()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), time[1] .. '.' .. time[2]
end

-- Who numbers. A script cannot remember it, so its caller tells, or INFO is asked.
local function numberer(told)
  if told and told ~= '' then return told, nil end
  if not process then
    local info = call('INFO', 'server')
    local found = string.match(info, 'run_id:(%x+)')
    if not found then fail('INFO server does not tell a run_id, without which terms cannot be told apart') end
    if told then return found, nil end
    local _, micros = now()
    process, loaded, is_clustered = found, micros, string.find(info, '_mode:cluster', 1, true)
  end
  return process, loaded
end

-- The history that this server writes. A replica that becomes a master begins another one, so a server that was a replica in
-- between is known by it, though neither its process nor its keys tell: events that were accepted elsewhere meanwhile are
-- lost with the state that numbered them.
local function history()
  return string.match(call('INFO', 'replication'), 'master_replid:(%x+)') or ''
end

-- What a publisher says ------------------------------------------------------------------------------------------

-- Each well formed character is replaced by a space; what is left of the bytes above ASCII is not well formed.
local function is_utf8(text)
  if not string.find(text, '[\128-\255]') then return true end
  local rest = string.gsub(text, '[\194-\223][\128-\191]', ' ')
  rest = string.gsub(rest, '\224[\160-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\237[\128-\159][\128-\191]', ' ')
  rest = string.gsub(rest, '[\225-\236\238\239][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\240[\144-\191][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\244[\128-\143][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '[\241-\243][\128-\191][\128-\191][\128-\191]', ' ')
  return not string.find(rest, '[\128-\255]')
end

local function check_line(field, value, bytes_max)
  if type(value) ~= 'string' then fail(field .. ' must be a string') end
  if #value > bytes_max then fail(field .. ' has at most ' .. bytes_max .. ' bytes, this one has ' .. #value) end
  if not is_utf8(value) then fail(field .. ' is not valid UTF-8') end
  if string.find(value, '[%z\1-\31\127]') or string.find(value, '\194[\128-\159]') then
    fail(field .. ' must not hold control characters')
  end
end

local function has_our_form(id)
  local term, rest = string.match(id, '^([a-z2-7]+)%.([%d.]+)$')
  return term and #term == 12 and (string.find(rest, '^%d+%.%d+$') or string.find(rest, '^%d+%.%d+%.%d+$'))
end

local function check_id(id)
  check_line('id', id, ID_BYTES_MAX)
  if id == '' then fail('id must not be empty; leave it out to let Fantail number the event') end
  if string.find(id, '^ ') or string.find(id, ' $') then fail('id must not begin or end with a space') end
  if has_our_form(id) then fail("id has the form of fantail's own ids; choose another") end
end

local function check_retry(retry)
  if type(retry) ~= 'number' or retry < 0 or retry > RETRY_MS_MAX or retry ~= math.floor(retry) then
    fail('retry is a number of milliseconds from 0 to ' .. digits(RETRY_MS_MAX))
  end
end

-- The envelope with what is known of it and nothing else: whatever a publisher's JSON looks like, every node reads it.
local function checked_envelope(json)
  local ok, said = pcall(cjson.decode, json or '')
  if not ok then fail('the envelope is not JSON (' .. tostring(said) .. '); it is {"data":"text"}') end
  local function field(name)
    local value = said[name]
    if value == cjson.null then return nil end
    return value
  end
  if type(said) ~= 'table' or type(field('data')) ~= 'string' then
    fail('the envelope must be a JSON object whose data is a string: {"data":"text"}')
  end
  local data, event, id, retry = field('data'), field('event'), field('id'), field('retry')
  if not is_utf8(data) then fail('data is not valid UTF-8; encode binary data as base64 or JSON') end
  local written = '{"data":' .. cjson.encode(data)
  if event ~= nil then
    check_line('event', event, TYPE_BYTES_MAX)
    if string.find(event, '^fantail%.') then fail('event types that begin with "fantail." are reserved') end
    if event ~= '' then written = written .. ',"event":' .. cjson.encode(event) end
  end
  if id ~= nil then
    check_id(id)
    written = written .. ',"id":' .. cjson.encode(id)
  end
  if retry ~= nil then
    check_retry(retry)
    written = written .. ',"retry":' .. digits(retry)
  end
  return written .. '}'
end

local function check_channel(name)
  if name == '' then fail('a channel name must not be empty') end
  if #name > CHANNEL_BYTES_MAX then
    fail('a channel name has at most ' .. CHANNEL_BYTES_MAX .. ' bytes, this one has ' .. #name)
  end
  if string.find(name, '[^A-Za-z0-9._~:@/=-]') then
    fail('a channel name is made of A-Z a-z 0-9 . _ ~ : @ / = - only')
  end
  local between = '/' .. name .. '/'
  if string.find(between, '//', 1, true) or string.find(between, '/./', 1, true)
    or string.find(between, '/../', 1, true) then
    fail('a channel name has no empty, "." or ".." segment between slashes')
  end
end

-- A channel's lane stands in its name: in `@orders/7` it is `orders`. Nodes look for it there and nowhere else.
local function check_lane(lane, name)
  local named = string.match(name, '^@(%w+)/')
  if not named or #named > LANE_BYTES_MAX then named = '0' end
  if named ~= lane.name then
    fail('the channel ' .. name .. ' is in the lane ' .. named .. '; publish to it with the key fantail-log:{'
      .. named .. '}, and to channels of other lanes apart')
  end
end

-- The channels behind the envelope; repeated ones count once.
local function checked_channels(lane, args)
  local channels, seen = {}, {}
  for at = 2, #args do
    local name = args[at]
    if not seen[name] then
      check_channel(name)
      check_lane(lane, name)
      if #channels == CHANNELS_MAX then fail('an event is for at most ' .. CHANNELS_MAX .. ' channels') end
      seen[name] = true
      channels[#channels + 1] = name
    end
  end
  if #channels == 0 then fail('name at least one channel behind the envelope') end
  return channels
end

-- The lane's keys, from the one that the caller names.
local function lane_of(keys)
  local name = #keys == 1 and string.match(keys[1], '^fantail%-log:{(%w+)}$')
  if not name or #name > LANE_BYTES_MAX then fail('call it with one key, fantail-log:{0}') end
  local tag = '{' .. name .. '}'
  return { name = name, key = keys[1], tops = 'fantail-tops:' .. tag, stream = 'fantail-stream:' .. tag .. ':' }
end

-- The log's state ------------------------------------------------------------------------------------------------

-- Nothing, if there is none that can be gone on from.
local function state_of(term, number, ms, last, horizon)
  local state = { term = term, number = integer(number), ms = integer(ms), last = integer(last),
    horizon = integer(horizon) }
  local whole = state.number and state.ms and state.last and state.horizon
    and type(term) == 'string' and #term == 12 and string.find(term, '^[a-z2-7]+$')
  if whole then return state end
end

-- Keeps in mind what was written to the state.
local function remember(lane, state)
  if not written[lane.name] then
    if lanes_written >= LANES_REMEMBERED_MAX then written, lanes_written = {}, 0 end
    lanes_written = lanes_written + 1
  end
  written[lane.name] = { term = state.term, number = state.number }
end

-- Whether somebody has put back a state of before. Scripts have no memory, but may have written a higher number.
local function was_set_back(lane, state)
  local before = written[lane.name]
  return before and (state.term ~= before.term or state.number < before.number)
end

local function newest_top(lane)
  local newest = call('ZREVRANGE', lane.tops, '0', '0', 'WITHSCORES')
  if #newest == 0 then return 0 end
  local number = integer(newest[2])
  if not number then fail('the key ' .. lane.tops .. ' holds a score that is no number of an event; delete it') end
  return number
end

-- The number and time of a Stream's newest entry, also if that was taken out since.
local function newest_in_stream(key)
  local info = redis.pcall('XINFO', 'STREAM', key)
  if refused(info) then
    if string.find(info.err, 'no such key', 1, true) then return 0, 0 end
    error({ fault = refusal(info.err, 'XINFO STREAM', key) }, 0)
  end
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      local ms, number = string.match(info[at + 1], '^(%d+)%-(%d+)$')
      if integer(ms) and integer(number) then return integer(number), integer(ms) end
    end
  end
  fail('the key ' .. key .. ' has an entry beyond any number of an event; delete it')
end

-- The ended terms among the fields of the state, oldest first.
local function ended_terms(fields)
  local ended = {}
  for name, value in pairs(fields) do
    local term = string.match(name, '^ended:(.*)$')
    if term then
      local order, first, final = string.match(value, '^(%d+) (%d+) (%d+)$')
      if order then ended[#ended + 1] = { term = term, order = tonumber(order), first = first, final = final } end
    end
  end
  table.sort(ended, function(a, b) return a.order < b.order end)
  return ended
end

local function all_fields(lane)
  local flat, fields = call('HGETALL', lane.key), {}
  for at = 1, #flat, 2 do fields[flat[at]] = flat[at + 1] end
  return fields
end

-- The lane is part of it: lanes of one server may begin at the same moment.
local function new_term(lane, run_id, number)
  local _, micros = now()
  local hash = redis.sha1hex(lane.name .. ' ' .. run_id .. ' ' .. micros .. ' ' .. digits(number))
  local term = ''
  for at = 1, 24, 2 do
    local char = tonumber(string.sub(hash, at, at + 1), 16) % 32 + 1
    term = term .. string.sub(TERM_CHARS, char, char)
  end
  return term
end

-- Fails while the slot is on its way to or from this server. Of several keys Redis wants all to be here then, and one of
-- these never is. A script does not know whether it is in a cluster, and elsewhere its user need not be allowed this.
local function expect_settled(lane)
  if process and not is_clustered then return end
  local reply = redis.pcall('EXISTS', lane.key, lane.stream)
  if refused(reply) and (is_clustered or string.find(reply.err, 'non local key', 1, true)) then
    error({ fault = refusal(reply.err, 'EXISTS', lane.stream) }, 0)
  end
end

-- Begins a new term above everything that is known: what the one before it gave last may be lost here, and its numbers
-- would mean other events. That one stays known with its newest number, up to which it is as it was, unless numbers of it
-- may mean two events: then nobody's place in it can be told from another.
local function begin_term(lane, run_id, since, channels, is_ambiguous)
  expect_settled(lane)
  local fields = all_fields(lane)
  local old = state_of(fields.term, fields.number, fields.ms, fields.last, fields.horizon)
  local top = newest_top(lane)
  local number = math.max(integer(fields.number) or 0, integer(fields.horizon) or 0, top)
  local ms = integer(fields.ms) or 0
  for _, channel in ipairs(channels) do
    local in_stream, time = newest_in_stream(lane.stream .. channel)
    number, ms = math.max(number, in_stream), math.max(ms, time)
  end
  local horizon = number
  if old and old.last == top then horizon = old.horizon end
  local order = (integer(fields.order) or 0) + 1
  local term = new_term(lane, run_id, number)
  local write = { 'HSET', lane.key, 'term', term, 'lane', lane.name, 'run_id', run_id, 'since', since or '',
    'number', digits(number), 'ms', digits(ms), 'last', digits(top), 'horizon', digits(horizon),
    'start', digits(number), 'order', digits(order), 'history', history() }
  local is_told = old and not is_ambiguous
  if is_told then
    write[#write + 1] = 'ended:' .. old.term
    write[#write + 1] = digits(order - 1) .. ' ' .. digits(integer(fields.start) or 0) .. ' ' .. digits(old.number)
  end
  call(unpack(write))
  local ended = ended_terms(fields)
  for at = 1, #ended + (is_told and 1 or 0) - TERMS_ENDED_MAX do call('HDEL', lane.key, 'ended:' .. ended[at].term) end
  local state = { term = term, number = number, ms = ms, last = top, horizon = horizon,
    events_max = integer(fields.events_max), age_ms = integer(fields.age_ms) }
  remember(lane, state)
  return state
end

-- The state to go on from; none if a new term has to begin: another process numbered before, numbers are known that the
-- state does not know, it was set back, or it is a copy of another lane's. Also who numbers now.
local function look_at_state(lane, told)
  local run_id, since = numberer(told)
  local read = call('HMGET', lane.key, 'term', 'number', 'ms', 'last', 'horizon', 'run_id', 'since', 'events_max',
    'age_ms', 'lane', 'history')
  local state = state_of(read[1], read[2], read[3], read[4], read[5])
  local top = newest_top(lane)
  local is_foreign = read[6] ~= run_id or (since and read[7] ~= since) or read[10] ~= lane.name
  if not state or top > state.number or is_foreign or was_set_back(lane, state) then return nil, run_id, since end
  state.events_max, state.age_ms, state.tops_lost = integer(read[8]), integer(read[9]), top ~= state.last
  state.history = read[11]
  return state, run_id, since
end

-- Whether the server was a replica since the state's term began. Redis may not tell its history.
local function was_away(state, now)
  return now ~= '' and state.history and state.history ~= '' and state.history ~= now
end

-- The state, or that of a new term. Somebody may say up to which number of a term events were seen, and which history this
-- server writes.
local function open_log(lane, told, channels, seen)
  local state, run_id, since = look_at_state(lane, told)
  local is_over, is_ambiguous
  if state and seen then
    is_ambiguous = seen.number and state.term == seen.term and state.number < seen.number
    is_over = was_away(state, seen.history)
    -- A copy of another master's keys loads the library anew. Where there is only a script nobody knows whether one came.
    is_ambiguous = is_ambiguous or (is_over and told)
  end
  if not state or is_over or is_ambiguous then
    state = begin_term(lane, run_id, since, channels, is_ambiguous)
  elseif state.tops_lost then
    expect_settled(lane)
    state.horizon = state.number
  end
  state.events_max, state.age_ms = state.events_max or EVENTS_MAX, state.age_ms or AGE_MS
  return state
end

-- Fails on a replica, also if there is nothing to write. The command itself needs no memory and changes nothing; since
-- it is a write, a script may go on when memory is used up, as a function that says so may.
local function expect_master(lane)
  call('HDEL', lane.key, '')
end

-- Publishing -----------------------------------------------------------------------------------------------------

-- Takes an event out again that nobody has seen. A Stream that was made for it goes as well.
local function take_out(lane, channel, entry, was_empty)
  call('XDEL', lane.stream .. channel, entry)
  if was_empty then call('PEXPIRE', lane.stream .. channel, '0') end
end

-- Keeps the event in every channel or in none. Returns why not, and whether some Stream is ahead of the state.
local function append(lane, entry, state, event)
  for at, channel in ipairs(event.channels) do
    local key = lane.stream .. channel
    local reply
    if event.list then
      reply = redis.pcall('XADD', key, entry, 't', state.term, 'p', event.previous[at], 'e', event.envelope, 'c',
        event.list)
    else
      reply = redis.pcall('XADD', key, entry, 't', state.term, 'p', event.previous[at], 'e', event.envelope)
    end
    if refused(reply) then
      for before = 1, at - 1 do take_out(lane, event.channels[before], entry, event.lengths[before] == 0) end
      return refusal(reply.err, 'XADD', key), string.find(reply.err, 'equal or smaller', 1, true), at > 1
    end
  end
end

-- Sends each channel its own copy. Returns the most receivers of one, and what was refused. In a cluster it goes to this
-- server's own subscribers alone: they are where the log is, and are told when it leaves.
local function send(lane, id, event)
  local command = is_clustered and 'SPUBLISH' or 'PUBLISH'
  local list = ' ' .. (event.list or event.channels[1]) .. '\n' .. event.envelope
  local receivers, refusals, reason = 0, {}, nil
  for at, channel in ipairs(event.channels) do
    local redis_channel = lane.key .. ':' .. channel
    local reply = redis.pcall(command, redis_channel, id .. ' ' .. event.previous[at] .. list)
    if refused(reply) then
      refusals[#refusals + 1] = at
      reason = refusal(reply.err, command, redis_channel)
    else
      receivers = math.max(receivers, reply)
    end
  end
  return receivers, refusals, reason
end

-- Forgets the tops of channels that are long quiet, a few at a time. Twice in the age of an event a mark is set; what
-- lies below the last but one is older than that.
local function trim_tops(lane, state, number, ms, batch)
  local read = call('HMGET', lane.key, 'mark_ms', 'mark', 'mark_before', 'tops_max')
  local mark_ms, mark, before = integer(read[1]), integer(read[2]) or 0, integer(read[3]) or 0
  if not mark_ms or ms - mark_ms >= state.age_ms then
    before = mark
    call('HSET', lane.key, 'mark_ms', digits(ms), 'mark', digits(number), 'mark_before', digits(before))
  end
  local old = call('ZCOUNT', lane.tops, '-inf', digits(before))
  local excess = call('ZCARD', lane.tops) - (integer(read[4]) or TOPS_MAX)
  local count = math.min(batch, math.max(old, excess))
  if count <= 0 then return end
  local highest = integer(call('ZRANGE', lane.tops, digits(count - 1), digits(count - 1), 'WITHSCORES')[2])
  -- The newest number stays, by which it is known that the tops are there.
  if not highest or highest >= number then return end
  call('HSET', lane.key, 'horizon', digits(math.max(state.horizon, highest)))
  call('ZREMRANGEBYRANK', lane.tops, '0', digits(count - 1))
end

-- Holds a Stream to its bounds. By age first: often that leaves nothing to count.
local function trim_stream(key, state, length)
  if length > 0 then
    length = length - call('XTRIM', key, 'MINID', digits(math.max(state.ms - state.age_ms, 0)))
  end
  if length >= state.events_max then call('XTRIM', key, 'MAXLEN', digits(state.events_max)) end
  call('PEXPIRE', key, digits(state.age_ms))
end

-- Everything behind the point from which the event cannot be taken back.
local function settle(lane, state, event)
  local tops = { 'ZADD', lane.tops }
  for at, channel in ipairs(event.channels) do
    if not event.is_out[at] then
      tops[#tops + 1] = digits(state.number)
      tops[#tops + 1] = channel
    end
  end
  call(unpack(tops))
  for at, channel in ipairs(event.channels) do
    if not event.is_out[at] then trim_stream(lane.stream .. channel, state, event.lengths[at]) end
  end
  if state.number % 16 < #event.channels then
    trim_tops(lane, state, state.number, state.ms, math.max(64, 2 * #event.channels))
  end
end

-- What must be known of each channel before the event has a number. Also finds keys that are no Streams.
local function look_at_channels(lane, state, event)
  event.previous, event.lengths, event.is_out = {}, {}, {}
  for at, channel in ipairs(event.channels) do
    event.lengths[at] = call('XLEN', lane.stream .. channel)
    if event.lengths[at] == 0 then expect_settled(lane) end
    local previous = call('ZSCORE', lane.tops, channel)
    if state.tops_lost or not previous or tonumber(previous) < state.horizon then previous = digits(state.horizon) end
    event.previous[at] = previous
  end
end

-- Takes the next number.
local function take_number(lane, state)
  if state.number >= NUMBER_MAX then fail('the numbers are used up; delete the keys of the log') end
  state.before = { state.number, state.ms, state.last }
  state.number, state.ms, state.last = state.number + 1, math.max(state.ms, (now())), state.number + 1
  call('HSET', lane.key, 'number', digits(state.number), 'ms', digits(state.ms), 'last', digits(state.last),
    'horizon', digits(state.horizon))
  remember(lane, state)
end

-- Gives the number back, or if some Stream knows it leaves it out.
local function skip_number(lane, state, was_used)
  local before_number, before_ms, before_last = unpack(state.before)
  if was_used then
    call('HSET', lane.key, 'last', digits(before_last))
  else
    call('HSET', lane.key, 'number', digits(before_number), 'ms', digits(before_ms), 'last', digits(before_last))
    remember(lane, { term = state.term, number = before_number })
  end
end

-- Numbers and keeps the event. A Stream that is ahead of the state shows that the state was lost or went back: then a
-- new term begins above it.
local function place(lane, told, event)
  local state = open_log(lane, told, event.channels)
  for attempt = 1, 2 do
    look_at_channels(lane, state, event)
    take_number(lane, state)
    local entry = digits(state.ms) .. '-' .. digits(state.number)
    local reason, is_behind, was_used = append(lane, entry, state, event)
    if not reason then return state, entry end
    skip_number(lane, state, was_used)
    if not is_behind or attempt == 2 then error({ fault = reason }, 0) end
    local run_id, since = numberer(told)
    local events_max, age_ms = state.events_max, state.age_ms
    state = begin_term(lane, run_id, since, event.channels)
    state.events_max, state.age_ms = events_max, age_ms
  end
end

local function publish(keys, args, told)
  local lane = lane_of(keys)
  local event = { envelope = checked_envelope(args[1]), channels = checked_channels(lane, args) }
  if #event.channels > 1 then event.list = table.concat(event.channels, ',') end
  local state, entry = place(lane, told, event)
  local id = state.term .. '.' .. digits(state.ms) .. '.' .. digits(state.number)
  local receivers, refusals, reason = send(lane, id, event)
  for _, at in ipairs(refusals) do
    event.is_out[at] = true
    take_out(lane, event.channels[at], entry, event.lengths[at] == 0)
  end
  if #refusals == #event.channels then
    skip_number(lane, state, true)
    error({ fault = reason }, 0)
  end
  settle(lane, state, event)
  if reason then error({ fault = reason .. ' (other channels of the event have it as ' .. id .. ')' }, 0) end
  return { id, receivers }
end

-- State and retention --------------------------------------------------------------------------------------------

-- The caller may say how far it has seen: a term, and its newest number. A state that is behind that was set back.
local function tell_state(keys, args, told)
  local lane = lane_of(keys)
  expect_master(lane)
  local opened = open_log(lane, told, {}, { term = args[1], number = integer(args[2]), history = history() })
  if opened.tops_lost then
    call('HSET', lane.key, 'horizon', digits(opened.horizon), 'last', digits(newest_top(lane)))
  end
  local fields = all_fields(lane)
  local reply = { fields.term, fields.number, fields.ms, fields.start or '0', fields.horizon, fields.run_id }
  for _, ended in ipairs(ended_terms(fields)) do
    reply[#reply + 1] = ended.term
    reply[#reply + 1] = ended.first
    reply[#reply + 1] = ended.final
  end
  return reply
end

-- The first entry of a channel above a place, if there is one, and the newest number of the channel, with the term in which
-- both are so. Without a term the latter is not known.
local function look_above(keys, args, told)
  local lane = lane_of(keys)
  check_channel(args[1])
  local first = call('XRANGE', lane.stream .. args[1], '(' .. args[2], '+', 'COUNT', '1')
  local newest = call('ZSCORE', lane.tops, args[1])
  local state = look_at_state(lane, told)
  if not state or state.tops_lost then return { first, '0', '' } end
  return { first, digits(math.max(tonumber(newest or 0), state.horizon)), state.term }
end

local function configure(keys, args, told)
  local lane = lane_of(keys)
  local events_max, age_ms = integer(args[1]), integer(args[2])
  if #args ~= 2 or not events_max or events_max < 1 or not age_ms or age_ms < 1 then
    fail('say how many events a channel keeps, and for how many milliseconds: two numbers from 1')
  end
  expect_master(lane)
  local opened = open_log(lane, told, {})
  if opened.events_max ~= events_max or opened.age_ms ~= age_ms then
    call('HSET', lane.key, 'events_max', digits(events_max), 'age_ms', digits(age_ms))
  end
  return redis.status_reply('OK')
end
