-- The product's table of results in a Supabase project. Made if it is not there; a table that is
-- there keeps its rows and its columns and gets what is missing. Running it again changes nothing.
-- Run it as `postgres` (SQL editor, psql, or a file in supabase/migrations).

create table if not exists public.detection_history (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references auth.users (id) on delete cascade,
    created_at timestamptz not null default now()
);

-- Old rows get the defaults: no scores and no metadata, which is what is known of them.
alter table public.detection_history
    add column if not exists user_id uuid references auth.users (id) on delete cascade,
    add column if not exists created_at timestamptz not null default now(),
    add column if not exists job_id text,
    add column if not exists status text not null default 'completed',
    add column if not exists verdict text,
    add column if not exists score double precision,
    add column if not exists detector_scores jsonb not null default '{}'::jsonb,
    add column if not exists model_metadata jsonb not null default '{}'::jsonb,
    add column if not exists told_at timestamptz;

-- Where the two columns were there before, and could be empty.
update public.detection_history set detector_scores = '{}'::jsonb where detector_scores is null;
update public.detection_history set model_metadata = '{}'::jsonb where model_metadata is null;
alter table public.detection_history
    alter column detector_scores set default '{}'::jsonb,
    alter column detector_scores set not null,
    alter column model_metadata set default '{}'::jsonb,
    alter column model_metadata set not null;

create unique index if not exists detection_history_job_id_key
    on public.detection_history (job_id);
create index if not exists detection_history_user_idx
    on public.detection_history (user_id, created_at desc);
-- For `detector_scores @> '{...}'` and `model_metadata @> '{...}'`.
create index if not exists detection_history_scores_idx
    on public.detection_history using gin (detector_scores);
create index if not exists detection_history_models_idx
    on public.detection_history using gin (model_metadata);

-- Users see their own rows and change none; only the service role writes.
alter table public.detection_history enable row level security;
revoke all on public.detection_history from public, anon, authenticated;
grant select on public.detection_history to authenticated;
grant all on public.detection_history to service_role;

drop policy if exists "Users see their own detections" on public.detection_history;
create policy "Users see their own detections" on public.detection_history
    for select to authenticated
    using ((select auth.uid()) = user_id);

drop policy if exists "The service role may do everything" on public.detection_history;
create policy "The service role may do everything" on public.detection_history
    for all to service_role
    using (true) with check (true);
