"""One account's schedule, as Redis keeps and changes it: who may send when.

New live bodies reserve slots ahead. All others never do: they stand in a line beside the schedule, those that are sent
again before those of the backfill, and the first of the line takes the next slot once that is due, if no live body has
taken it. A place in the line says when to ask again: after the next slot, and after those ahead. Who is late is not
waited for, and who does not come back loses its place.

A slot is the earliest moment at which the batches are spread evenly at the allowed rate, no second holds more of them
than that, and none exceeds the second before by more than the growth (``worker.mparticle.pace``). What comes first
after a silence may go.

The fields of the account's hash that are the schedule's::

    next_at       when the next slot is due if slots are spread evenly
    sent          two seconds of what counts against the quota: pairs ``time:batches``, oldest first, slots ahead
                  included
    paused_until  no slot lies before this
    doublings     how often the pause was doubled, since the last trouble was over
    schedule      a name that a schedule begun anew does not share: when it began
    begun_at      when the hash began: what answers tell of the seconds before says nothing about what it knows
    line          bodies that wait: ``ticket:length:asks_at:rank``, in order, the length in time

Every time is in whole microseconds of Redis' clock. They need 51 of the 53 bits that Lua's numbers have, and ``%.0f``
because ``tostring()`` keeps 14 digits only. A hash lives for 25 hours after its last change, so that what a daily run
learned is there for the next, and longer where a slot takes longer; ``worker.mparticle.governor`` sets no pause beyond
one hour.
"""

from typing import Final

from worker.mparticle.pace import PRELUDE

# Batches due in the same 20 ms count as due with the last of them, which bounds how much is kept. A place in the line
# is kept for a second after its owner should have come.
RESERVE: Final = (
    PRELUDE
    + """
local wanted, quota, longest, held = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local burst, window, rank = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local used, following = tonumber(ARGV[8]), tonumber(ARGV[9])
local grain, keep = 20000, 1000000
local paused_until = get('paused_until')
load_sent(window)
if not state.schedule then
    set('schedule', now)
    set('begun_at', now)
end
heed(allowed_rate(quota), quota, used, wanted, window)
local rate, growth, is_held = allowed_rate(quota), trusted_growth(quota), get('held_until') > now

-- Where the batches fit into every second. Near the quota less is allowed by a longer second and not by fewer batches:
-- these come in whole bodies, and a body less would be a tenth.
local function fit(slot, batches)
    local most = rate >= 0.9 * quota and quota or rate
    local span = window * most / rate
    local inside, oldest = 0, 1
    for _, entry in ipairs(sent) do
        inside = inside + entry[2]
    end
    while sent[oldest] and (sent[oldest][1] + span <= now or inside + batches > most) do
        if sent[oldest][1] + span > now then
            slot = math.max(slot, math.ceil(sent[oldest][1] + span))
        end
        inside = inside - sent[oldest][2]
        oldest = oldest + 1
    end
    return slot
end

local function rise_gently(slot, batches)
    local limit = is_held and 0 or math.max(growth, batches)
    if limit >= rate then
        return slot, rate
    end
    local before, inside, first, last = 0, 0, 1, 1
    for _, entry in ipairs(sent) do
        inside = inside + entry[2]
    end
    local at, wanted_at = math.max(slot, now), math.max(slot, now)
    while true do
        while sent[last] and sent[last][1] + second <= at do
            before, inside, last = before + sent[last][2], inside - sent[last][2], last + 1
        end
        while first < last and sent[first][1] + 2 * second <= at do
            before, first = before - sent[first][2], first + 1
        end
        if inside == 0 or inside + batches <= before + limit then
            break
        end
        at = sent[last][1] + second
    end
    if at > wanted_at then
        slot = at
        if not is_held and get('steep_at') == 0 then
            set('steep_at', at)
        end
    end
    return slot, math.min(rate, math.max(batches, before + limit))
end

local function place_in_line(batches, ticket, my_rank, slot)
    local line, place, ahead, newest = {}, nil, 0, 0
    if ticket ~= '' and not string.find(' ' .. (state.line or ''), ' ' .. ticket .. ':', 1, true) then
        ticket = ''
    end
    for other, length, asks_at, its_rank in string.gmatch(state.line or '', '(%d+):(%d+):(%d+):?(%d*)') do
        newest = math.max(newest, tonumber(other))
        its_rank = its_rank == '' and 2 or tonumber(its_rank)
        if other == ticket or (not place and its_rank > my_rank and ticket == '') then
            place = #line + 1
        end
        if other ~= ticket and asks_at + keep > now then
            line[#line + 1] = other .. ':' .. length .. ':' .. asks_at .. ':' .. its_rank
            if not place and asks_at + burst > now then
                ahead = ahead + length
            end
        end
    end
    local wait = math.max(0, slot + ahead - now)
    local stays = wait > 0 and wait <= longest
    if stays then
        if ticket == '' then
            ticket = text(math.max(now, newest + 1))
        end
        -- A steady sender gets a second's quota in each window, so that is how long a body takes.
        local length = math.ceil(batches * window / rate)
        table.insert(line, place or #line + 1, table.concat({ticket, text(length), text(now + wait), my_rank}, ':'))
    end
    set('line', table.concat(line, ' '))
    return stays, wait, ticket
end

-- What is sent late counts from then: the second that begins with it ends later, too.
local function note_late(due_at, batches)
    if now < due_at + 2000 then
        return
    end
    for index, entry in ipairs(sent) do
        if entry[1] >= due_at and entry[1] < now and entry[2] >= batches then
            entry[2] = entry[2] - batches
            local place = index + 1
            while sent[place] and sent[place][1] <= now do
                place = place + 1
            end
            table.insert(sent, place, {now, batches})
            if entry[2] == 0 then
                table.remove(sent, index)
            end
            save_sent()
            return
        end
    end
end

local lasts = life
local function ask(batches, ticket, my_rank, is_ahead)
    local name, due_at = string.match(ticket, '^(%d+):(%d+)$')
    if name and name == state.schedule and paused_until <= now then
        note_late(tonumber(due_at), batches)
        return {1, 0, ticket}
    end
    local slot = fit(math.max(get('next_at'), now - burst, paused_until), batches)
    local pace
    slot, pace = rise_gently(slot, batches)
    local wait = math.max(0, slot - now)
    if my_rank > 0 then
        local stays
        stays, wait, ticket = place_in_line(batches, ticket, my_rank, slot)
        if stays then
            return {1, wait, ticket}
        end
    end
    -- Who stands in line books no slot before it uses it.
    if wait > longest or (is_ahead and my_rank > 0) then
        return {0, wait, ''}
    end
    local cost = math.ceil(batches * second / pace)
    local at = now + wait + math.max(0, math.ceil(batches * second / rate) - second)
    local last = sent[#sent]
    if last and math.floor(last[1] / grain) == math.floor(at / grain) then
        last[1], last[2] = at, last[2] + batches
    else
        sent[#sent + 1] = {at, batches}
    end
    save_sent()
    set('next_at', slot + cost)
    lasts = life + math.ceil(cost / second)
    return {1, wait, state.schedule .. ':' .. text(at)}
end

-- A body that was cut before the limit was found does not fit below it.
if state.limited_at and wanted > math.max(1, growth / 2) then
    save(life)
    return {0, 0, '', 0, 0, '', growth}
end
local answer = ask(wanted, held, rank, false)
local ahead = {0, 0, ''}
if following > 0 and answer[1] == 1 and answer[2] == 0 then
    ahead = ask(following, '', rank, true)
end
save(lasts)
return {answer[1], answer[2], answer[3], ahead[1], ahead[2], ahead[3], state.limited_at and growth or 0}
"""
)
