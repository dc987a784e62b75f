-- Commits a transaction in one atomic step: nothing is written unless all is as its snapshots have it.
--
-- KEYS: for the client, then for what all share: account (hash), tokens (sorted set by expiry), names of rows (set);
--       then the clients by evidence (sorted set). Rows are lists beside the names, in the same hash slot.
-- ARGV: 1 the parts, msgpack; 2 the client's totals, opaque; 3 its name; 4 its evidence; 5 … rows, in order.
-- Returns nothing where it was done, otherwise both accounts as they are.

local own, shared = unpack(cmsgpack.unpack(ARGV[1]))
local argument = 4

local function number(text) return tonumber(text or '0') end

-- The expiry of each token that is remembered, by token: at most 1,000 are asked for at once (the stack is small).
local function used(at, tokens)
  local found = {}
  for first = 1, #tokens, 1000 do
    local some = {unpack(tokens, first, math.min(first + 999, #tokens))}
    for i, until_ in ipairs(redis.call('ZMSCORE', KEYS[at + 1], unpack(some))) do
      if until_ then found[some[i]] = until_ end
    end
  end
  return found
end

-- The totals that change when the additions are repeated; nil where one comes out otherwise.
local function repeated(at, added)
  local totals = {}
  for _, it in ipairs(added) do
    local name, amount, floor, limit, done = unpack(it)
    local raised = math.max(totals[name] or number(redis.call('HGET', KEYS[at], '=' .. name)), floor) + amount
    if (raised <= limit) ~= done then return nil end
    if done then totals[name] = raised end
  end
  return totals
end

local function agrees(at, part)
  if not part.version then return true end
  if number(redis.call('HGET', KEYS[at], 'version')) ~= part.version then return false end
  if #part.tokens == 0 then return true end
  for _, until_ in pairs(used(at, part.tokens)) do
    if tonumber(until_) > part.now then return false end
  end
  return true
end

local function told(at, part)
  local rows, tokens = {}, {}
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[at + 2])) do
    rows[#rows + 1] = name
    rows[#rows + 1] = redis.call('LRANGE', KEYS[at + 2] .. ':' .. name, 0, -1)
  end
  for token, until_ in pairs(used(at, part and part.tokens or {})) do
    tokens[#tokens + 1] = token
    tokens[#tokens + 1] = until_
  end
  return {redis.call('HGETALL', KEYS[at]), rows, tokens}
end

local function change(at, part)
  redis.call('HINCRBY', KEYS[at], 'version', 1)
  if #part.tokens > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[at + 1], '-inf', part.now)
    for i, token in ipairs(part.tokens) do redis.call('ZADD', KEYS[at + 1], part.expires[i], token) end
  end
  for _, it in ipairs(part.rows) do
    local name, dropped, count = unpack(it)
    local list = KEYS[at + 2] .. ':' .. name
    if dropped then redis.call('DEL', list) end
    for i = 1, count do redis.call('RPUSH', list, ARGV[argument + i]) end
    argument = argument + count
    redis.call(dropped and count == 0 and 'SREM' or 'SADD', KEYS[at + 2], name)
  end
end

local changed = shared and repeated(4, shared.added)
if not agrees(1, own) or (shared and not (changed and agrees(4, shared))) then
  return {told(1, own), told(4, shared)}
end
redis.call('ZADD', KEYS[7], ARGV[4], ARGV[3]) -- first: NaN is an error here, and then nothing is written
change(1, own)
redis.call('HSET', KEYS[1], 'totals', ARGV[2])
if shared then
  change(4, shared)
  for name, value in pairs(changed) do
    redis.call('HSET', KEYS[4], '=' .. name, string.format('%.17g', value)) -- a double and back again
  end
  for name, value in pairs(shared.totals) do
    redis.call('HSET', KEYS[4], '=' .. name, string.format('%.17g', value))
  end
end
return nil
