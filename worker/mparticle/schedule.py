"""One account's schedule and pause, as Redis keeps and changes them: a hash and two scripts.

Live bodies reserve slots ahead. Backfill bodies never do: they stand in a line beside the schedule, and the first of it
takes the next slot once that is due, if live has not taken it. A place in the line says when to ask again: after the
next slot, and after those ahead. Who is late is not waited for, and who does not come back loses its place.

The fields of the hash::

    next_at       when the next slot is due if slots are spread evenly
    sent          what counts against the quota: pairs ``time:batches``, oldest first, slots ahead included
    paused_until  no slot lies before this
    doublings     how often the pause was doubled, since the last trouble was over
    schedule      a name that a schedule begun anew does not share
    line          backfill bodies that wait: ``ticket:length:asks_at``, first come first, the length in time

Every time is in whole microseconds of Redis' clock. They need 51 of the 53 bits that Lua's numbers have, and ``%.0f``
because ``tostring()`` keeps 14 digits only. A hash lives for two hours after its last change, and longer where a slot
takes longer; ``worker.mparticle.governor`` sets no pause beyond one hour.
"""

from typing import Final

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end
local life = 7200
"""

# Batches due in the same 20 ms count as due with the last of them, which bounds how much is kept. A place in the line
# is kept for a second after its owner should have come.
RESERVE: Final = (
    _NOW
    + """
local batches, rate, longest, held = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local burst, window, lane, grain, keep = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], 20000, 1000000
local state = redis.call('HMGET', KEYS[1], 'next_at', 'paused_until', 'schedule', 'sent', 'line')
local paused_until = tonumber(state[2] or 0)
if lane == 'live' and held ~= '' and held == state[3] and paused_until <= now then
    return {1, 0, held}
end

local sent, counted = {}, 0
for at, count in string.gmatch(state[4] or '', '(%d+):(%d+)') do
    if at + window > now then
        sent[#sent + 1] = {tonumber(at), tonumber(count)}
        counted = counted + count
    end
end
local slot = math.max(tonumber(state[1] or 0), now - burst, paused_until)
local oldest = 1
while sent[oldest] and counted + batches > rate do
    slot = math.max(slot, sent[oldest][1] + window)
    counted = counted - sent[oldest][2]
    oldest = oldest + 1
end
local wait = math.max(0, slot - now)

if lane == 'backfill' then
    local line, place, ahead, newest = {}, nil, 0, 0
    for ticket, length, asks_at in string.gmatch(state[5] or '', '(%d+):(%d+):(%d+)') do
        newest = ticket
        if ticket == held then
            place = #line + 1
        elseif asks_at + keep > now then
            line[#line + 1] = ticket .. ':' .. length .. ':' .. asks_at
            if not place and asks_at + burst > now then
                ahead = ahead + length
            end
        end
    end
    local ticket = place and held or text(math.max(now, newest + 1))
    wait = math.max(0, slot + ahead - now)
    local stays = wait > 0 and wait <= longest
    if stays then
        -- A steady sender gets a second's quota in each window, so that is how long a body takes.
        local length = math.ceil(batches * window / rate)
        table.insert(line, place or #line + 1, ticket .. ':' .. text(length) .. ':' .. text(now + wait))
    end
    redis.call('HSET', KEYS[1], 'line', table.concat(line, ' '))
    redis.call('EXPIRE', KEYS[1], math.max(life, redis.call('TTL', KEYS[1])))
    if stays then
        return {1, wait, ticket}
    end
end
if wait > longest then
    return {0, wait, ''}
end

local cost = math.ceil(batches * 1000000 / rate)
local at = now + wait + math.max(0, cost - 1000000)
local last = sent[#sent]
if last and math.floor(last[1] / grain) == math.floor(at / grain) then
    last[1], last[2] = at, last[2] + batches
else
    sent[#sent + 1] = {at, batches}
end
for index, entry in ipairs(sent) do
    sent[index] = text(entry[1]) .. ':' .. text(entry[2])
end
local schedule = state[3] or text(now)
redis.call('HSET', KEYS[1], 'next_at', text(slot + cost), 'schedule', schedule, 'sent', table.concat(sent, ' '))
redis.call('EXPIRE', KEYS[1], life + math.ceil(cost / 1000000))
return {1, wait, schedule}
"""
)

# A refusal that arrives during a pause answers a body sent before it: the same trouble, not worse trouble.
PAUSE: Final = (
    _NOW
    + """
local asked, jitter = tonumber(ARGV[1]), tonumber(ARGV[2])
local first, last, forget = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local state = redis.call('HMGET', KEYS[1], 'paused_until', 'doublings')
local paused_until = tonumber(state[1] or 0)
if asked < 0 then
    if paused_until > now then
        return paused_until - now
    end
    local doublings = 0
    if state[2] and now - paused_until < forget then
        doublings = math.min(tonumber(state[2]) + 1, 30)
    end
    asked = math.floor(math.min(first * 2 ^ doublings, last) * jitter)
    redis.call('HSET', KEYS[1], 'doublings', doublings)
end
paused_until = math.max(paused_until, now + asked)
redis.call('HSET', KEYS[1], 'paused_until', text(paused_until))
redis.call('EXPIRE', KEYS[1], math.max(life, redis.call('TTL', KEYS[1])))
return paused_until - now
"""
)
