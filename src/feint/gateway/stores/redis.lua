-- Commits a transaction in one atomic step: nothing is written unless every account is as its snapshot has it.
--
-- KEYS: the clients by evidence (sorted set, beside which is that of groups); the ledger (hash): its id, its numbers of
--       commits, of erased accounts, of clients and of groups, and of the commits by each process; then for each account:
--       version, writer, totals, latest expiry of a token and number of names of rows (hash), tokens (sorted set by
--       expiry), names of rows (set). Rows are lists beside the names, in the same hash slot.
-- ARGV: 1 the changes to each account, msgpack; 2 the id of the process, and of a new ledger; then for each account its
--       totals, msgpack, and its rows, in order.
-- Returns the mark of the ledger, "id commits erased own"; after 1 and version and totals of each account that was only
--         added to, where there is one, or after 0 and every account as it is. Once a key is gone that the others tell of
--         (evicted, expired, deleted) every commit is an error LOST, until the ledger is taken as it is.

local parts = cmsgpack.unpack(ARGV[1])
local argument = 2

local function key(i, part) return KEYS[3 * i - 1 + part] end

-- The id of the ledger, the number of its commits, which is raised by `done`, and that of erased accounts.
local function mark(done)
  redis.call('HSETNX', KEYS[2], 'id', ARGV[2])
  local id, erased = unpack(redis.call('HMGET', KEYS[2], 'id', 'erased'))
  local commits, own = redis.call('HINCRBY', KEYS[2], 'commits', done), redis.call('HGET', KEYS[2], ARGV[2])
  if done > 0 then own = redis.call('HINCRBY', KEYS[2], ARGV[2], done) end
  return id .. ' ' .. commits .. ' ' .. (erased or 0) .. ' ' .. (own or 0)
end

local function number(text) return tonumber(text or '0') end

local function ranking(kind) return kind == 'client' and KEYS[1] or KEYS[1] .. ':' .. kind end

-- Whether the accounts by evidence are not as many as ranked. An earlier ledger does not have their number, which is
-- then counted.
local function unranked(kind, ranked, id)
  local count = redis.call('ZCARD', ranking(kind))
  if not ranked and id then
    ranked = count
    redis.call('HSET', KEYS[2], kind, count)
  end
  return number(ranked or nil) ~= count
end

-- What is gone of an account, nil for nothing.
local function gone(i, part)
  local version, expires, rows = unpack(redis.call('HMGET', key(i, 1), 'version', 'expires', 'rows'))
  if not version then
    local known = part.kind == 'shared' and redis.call('HEXISTS', KEYS[2], 'shared ' .. part.name) == 1
    known = known or (part.kind ~= 'shared' and redis.call('ZSCORE', ranking(part.kind), part.name))
    return (known or redis.call('EXISTS', key(i, 2), key(i, 3)) > 0) and 'an account' or nil
  end
  if expires and redis.call('EXISTS', key(i, 2)) == 0 and tonumber(expires) > redis.call('TIME')[1] + 1 then
    return 'the tokens of an account'
  end
  local gone = rows and tonumber(rows) ~= redis.call('SCARD', key(i, 3))
  for _, it in ipairs(part.rows) do
    local known = not it[2] and redis.call('SISMEMBER', key(i, 3), it[1]) == 1
    gone = gone or (known and redis.call('EXISTS', key(i, 3) .. ':' .. it[1]) == 0)
  end
  return gone and 'rows of an account' or nil
end

local function lost(what)
  redis.call('HSET', KEYS[2], 'lost', what)
  return redis.error_reply('LOST ' .. what)
end

-- The expiry of each token that is remembered, by token: at most 1,000 are asked for at once (the stack is small).
local function used(i, tokens)
  local found = {}
  for first = 1, #tokens, 1000 do
    local some = {unpack(tokens, first, math.min(first + 999, #tokens))}
    for n, until_ in ipairs(redis.call('ZMSCORE', key(i, 2), unpack(some))) do
      if until_ then found[some[n]] = until_ end
    end
  end
  return found
end

-- Repeats the additions, and adds `raised` to the changes where one of them changes a total.
local function repeated(i, part)
  local totals = cmsgpack.unpack(redis.call('HGET', key(i, 1), 'totals') or '\128')
  for _, it in ipairs(part.added) do
    local name, amount, floor, limit, done, ceiling = unpack(it)
    local total = totals[name] or 0
    local raised = math.max(total > ceiling and 0 or total, floor) + amount
    if (raised <= limit) ~= done then return false end
    if done then totals[name], part.raised = raised, totals end
  end
  return true
end

local function agrees(i, part)
  if not part.version then return repeated(i, part) end
  local version, writer = unpack(redis.call('HMGET', key(i, 1), 'version', 'writer'))
  if number(version or nil) ~= part.version or (writer or '') ~= part.after then return false end
  if #part.tokens == 0 then return true end
  for _, until_ in pairs(used(i, part.tokens)) do
    if tonumber(until_) > part.now then return false end
  end
  return true
end

local function current(i) return redis.call('HMGET', key(i, 1), 'version', 'totals', 'writer') end

local function whole(i, part)
  local rows, tokens = {}, {}
  for _, name in ipairs(redis.call('SMEMBERS', key(i, 3))) do
    rows[#rows + 1] = name
    rows[#rows + 1] = redis.call('LRANGE', key(i, 3) .. ':' .. name, 0, -1)
    if #rows[#rows] == 0 then return nil end
  end
  for token, until_ in pairs(used(i, part.tokens)) do
    tokens[#tokens + 1] = token
    tokens[#tokens + 1] = until_
  end
  return {current(i), rows, tokens}
end

-- The evidence as text of 17 digits: a double and back again.
local function evidence(part)
  return part.raised and string.format('%.17g', part.raised.evidence or 0) or part.evidence
end

local function rank(part)
  local new = redis.call('ZADD', ranking(part.kind), evidence(part), part.name)
  redis.call('HINCRBY', KEYS[2], part.kind, new)
end

local function change(i, part)
  redis.call('HINCRBY', key(i, 1), 'version', 1)
  if part.raised then
    redis.call('HSET', key(i, 1), 'totals', cmsgpack.pack(part.raised))
  else
    redis.call('HSET', key(i, 1), 'totals', ARGV[argument + 1], 'writer', part.writer)
  end
  argument = argument + 1
  if #part.tokens > 0 then
    redis.call('ZREMRANGEBYSCORE', key(i, 2), '-inf', part.now)
    for n, token in ipairs(part.tokens) do redis.call('ZADD', key(i, 2), part.expires[n], token) end
    redis.call('HSET', key(i, 1), 'expires', redis.call('ZRANGE', key(i, 2), -1, -1, 'WITHSCORES')[2])
  end
  for _, it in ipairs(part.rows) do
    local name, dropped, count = unpack(it)
    local list = key(i, 3) .. ':' .. name
    if dropped then redis.call('DEL', list) end
    for n = 1, count do redis.call('RPUSH', list, ARGV[argument + n]) end
    argument = argument + count
    redis.call(dropped and count == 0 and 'SREM' or 'SADD', key(i, 3), name)
    redis.call('HSET', key(i, 1), 'rows', redis.call('SCARD', key(i, 3)))
  end
  if part.kind == 'shared' then redis.call('HSET', KEYS[2], 'shared ' .. part.name, 1) end
end

local before, id, clients, groups = unpack(redis.call('HMGET', KEYS[2], 'lost', 'id', 'client', 'group'))
if before then return redis.error_reply('LOST ' .. before) end
if unranked('client', clients, id) or unranked('group', groups, id) then return lost('the clients by evidence') end
for i, part in ipairs(parts) do
  local what = gone(i, part)
  if what then return lost(what) end
end
local agreed, some, reply = true, false, {}
for i, part in ipairs(parts) do agreed = agreed and agrees(i, part) end
if not agreed then
  for i, part in ipairs(parts) do
    reply[i] = whole(i, part)
    if not reply[i] then return lost('rows of an account') end
  end
  return {0, reply, mark(0)}
end
for _, part in ipairs(parts) do -- before anything is written
  local value = tonumber(evidence(part))
  if not value or value ~= value then return redis.error_reply('ERR evidence that is no number') end
end
for i, part in ipairs(parts) do
  if part.version or part.raised then
    if part.kind ~= 'shared' then rank(part) end
    change(i, part)
  else
    argument = argument + 1
  end
  reply[i] = part.version and 0 or current(i)
  some = some or not part.version
end
return some and {1, reply, mark(1)} or mark(1)
