-- Aura's own tables in the same project, in a schema of their own that no user can reach:
--     AURA_DATABASE_URL='postgresql://...?options=-csearch_path%3Daura'
-- Every result of a user of the project is copied into public.detection_history, in the
-- transaction that finishes the job, and goes when it is erased. Run it after `history.sql` and
-- `aura db upgrade`, as the role that Aura connects as; running it again changes nothing.

revoke all on schema aura from public, anon, authenticated;
revoke all on all tables in schema aura from public, anon, authenticated;

create or replace function aura.copy_to_history() returns trigger
    language plpgsql
    security definer
    set search_path = ''
as $$
begin
    if tg_op = 'DELETE' then
        delete from public.detection_history where job_id = old.job_id;
        return old;
    end if;
    -- Who came with an API key or by WhatsApp is no user of the project: nothing is copied.
    insert into public.detection_history
        (user_id, job_id, status, verdict, score, detector_scores, model_metadata, told_at)
    select u.id, new.job_id, 'completed', new.verdict, new.score, new.detector_scores,
           new.model_metadata, new.created_at
    from auth.users as u
    where u.id::text = new.owner
    on conflict (job_id) do update set
        user_id = excluded.user_id, status = excluded.status, verdict = excluded.verdict,
        score = excluded.score, detector_scores = excluded.detector_scores,
        model_metadata = excluded.model_metadata, told_at = excluded.told_at;
    return new;
end
$$;
revoke all on function aura.copy_to_history() from public, anon, authenticated;

drop trigger if exists copy_to_history on aura.detection_history;
create trigger copy_to_history
    after insert or delete on aura.detection_history
    for each row execute function aura.copy_to_history();
