package rediscache

// The scripts, each of which is one step in Redis. KEYS hold three keys of each document: its record, the set of
// its writers, and the token of the reader who may put its record in place; then those of the feeds. Keys
// that hold something of another type are garbage and go.
//
// A set of writers has one entry for each commit under way. "!" in it says that two met: then whoever leaves last
// does not know whose generation is the newest and puts nothing in place.

// askScript gives leave to put records in place: to one reader at a time, and only while no writer is there.
// ARGV: token, life of tokens in ms, then for each document 1 to remove what is in its place. Returns 1 or 0
// for each.
const askScript = `
local token, life = ARGV[1], ARGV[2]
local leave = {}
for i = 1, #KEYS / 3 do
  local record, writers, reader = KEYS[3*i-2], KEYS[3*i-1], KEYS[3*i]
  local kind = redis.call('TYPE', record).ok
  if ARGV[2+i] == '1' or kind ~= 'string' then redis.call('DEL', record); kind = 'none' end
  local present = redis.call('TYPE', writers).ok
  if present ~= 'set' then redis.call('DEL', writers) end
  leave[i] = '0'
  if present == 'set' then
    if redis.call('PTTL', writers) < 0 then redis.call('PEXPIRE', writers, life) end
  elseif kind == 'none' then
    if redis.call('TYPE', reader).ok ~= 'string' or redis.call('PTTL', reader) < 0 then redis.call('DEL', reader) end
    if redis.call('SET', reader, token, 'NX', 'PX', life) then leave[i] = '1' end
  end
end
return leave`

// fillScript puts records in place. KEYS: record and reader of each; ARGV: token, then record and life.
const fillScript = `
for i = 1, #KEYS / 2 do
  local record, reader = KEYS[2*i-1], KEYS[2*i]
  if redis.call('TYPE', reader).ok == 'string' and redis.call('GET', reader) == ARGV[1] then
    redis.call('DEL', reader)
    redis.call('SET', record, ARGV[2*i], 'PX', ARGV[2*i+1])
  end
end
return {}`

// enterScript enters a writer before its commit. KEYS: those of the documents, then index and writers of each
// feed; ARGV: token, life of entries in ms, number of documents. Returns what each index was.
const enterScript = `
local token, life, documents = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function enter(writers)
  if redis.call('TYPE', writers).ok ~= 'set' then redis.call('DEL', writers) end
  redis.call('SADD', writers, token)
  redis.call('PEXPIRE', writers, life)
end
for i = 1, documents do
  redis.call('DEL', KEYS[3*i-2], KEYS[3*i])
  enter(KEYS[3*i-1])
end
local was = {}
for i = 3*documents + 1, #KEYS, 2 do
  was[#was+1] = ''
  if redis.call('TYPE', KEYS[i]).ok == 'string' then was[#was] = redis.call('GET', KEYS[i]) end
  redis.call('DEL', KEYS[i])
  enter(KEYS[i+1])
end
return was`

// leaveScript lets a writer go after its commit. KEYS: those of the documents, then index, changes and writers
// of each feed. ARGV: token, number of documents, life of a feed in ms, how many changes it keeps, since when a feed that is
// made anew is complete; for each
// document its generation (0: it was not changed), its record (empty: not to be put in place) and the record's
// life in ms; for each feed what its index was, the number of its changes, and for each the document's id
// and its time of commit.
//
// Records of older generations go in any case. A record is put in place only by a writer who was alone from
// its entry on. An index is put in place only when no writer is left, and not before a feed that was made anew
// has a change that it is complete for: what Redis had before may have been newer than the changes it has now.
const leaveScript = `
local token, documents, life, keep = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local since, at = ARGV[5], 5
local function take() at = at + 1; return ARGV[at] end

local function leave(writers, changed)
  if redis.call('TYPE', writers).ok ~= 'set' then
    redis.call('DEL', writers)
    return false, true
  end
  local entered = redis.call('SREM', writers, token) == 1
  local left = redis.call('SCARD', writers)
  if left == 0 then return entered, true end
  local met = redis.call('SISMEMBER', writers, '!') == 1
  if left == 1 and met then
    redis.call('DEL', writers)
    return false, true
  end
  if changed and not met then redis.call('SADD', writers, '!') end
  return false, false
end

for i = 1, documents do
  local record, writers, reader = KEYS[3*i-2], KEYS[3*i-1], KEYS[3*i]
  local generation, value, ttl = tonumber(take()), take(), take()
  local alone = leave(writers, generation > 0)
  if generation > 0 then
    redis.call('DEL', reader)
    if alone and value ~= '' then
      redis.call('SET', record, value, 'PX', ttl)
    else
      local there
      if redis.call('TYPE', record).ok == 'string' then
        there = tonumber(string.match(redis.call('GETRANGE', record, 0, 63), '^{"format":1,"generation":(%d+),'))
      end
      if not there or there < generation then redis.call('DEL', record) end
    end
  end
end

local function whole(value)
  local n = tonumber(value)
  if n and n >= 0 and n < 2^53 and n == math.floor(n) then return string.format('%.0f', n) end
end

for i = 3*documents + 1, #KEYS, 3 do
  local index, changes, writers = KEYS[i], KEYS[i+1], KEYS[i+2]
  local was, count = take(), tonumber(take())
  if count > 0 and not whole(redis.call('TYPE', changes).ok == 'zset' and redis.call('ZSCORE', changes, '')) then
    redis.call('DEL', changes)
  end
  for _ = 1, count do
    local id, micros = take(), take()
    if redis.call('EXISTS', changes) == 0 then redis.call('ZADD', changes, since, '') end
    redis.call('ZADD', changes, 'GT', micros, id)
    while redis.call('ZCARD', changes) > keep + 1 do
      local out = redis.call('ZPOPMIN', changes)
      if out[1] == '' then out = redis.call('ZPOPMIN', changes) end
      redis.call('ZADD', changes, 'GT', out[2], '')
    end
  end
  local alone, free = leave(writers, count > 0)
  if count > 0 then
    redis.call('PEXPIRE', changes, life)
    local top = redis.call('ZREVRANGE', changes, 0, 0, 'WITHSCORES')
    local newest = whole(top[2])
    if not newest then redis.call('DEL', changes) end
    if free and newest and top[1] ~= '' then
      redis.call('SET', index, newest, 'PX', life)
    else
      redis.call('DEL', index)
    end
  elseif alone and whole(was) then
    redis.call('SET', index, whole(was), 'PX', life)
  end
end
return {}`

// sinceScript reads a feed. KEYS: index, changes; ARGV: since, the most ids wanted. Returns the index and the
// ids, or nothing when the feed cannot tell.
const sinceScript = `
local index, changes = KEYS[1], KEYS[2]
if redis.call('TYPE', index).ok ~= 'string' or redis.call('TYPE', changes).ok ~= 'zset' then return {} end
local newest, oldest = redis.call('GET', index), redis.call('ZSCORE', changes, '')
if not oldest or not (tonumber(oldest) <= tonumber(ARGV[1])) then return {} end
local ids = redis.call('ZRANGEBYSCORE', changes, '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])
table.insert(ids, 1, newest)
return ids`
