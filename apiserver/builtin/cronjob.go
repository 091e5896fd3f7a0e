package builtin

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxCronJobName leaves room for what the controller appends to make a job's name: a dash and ten digits.
const maxCronJobName = validation.DNS1035LabelMaxLength - 11

func cronJobs() behaviour[*batchv1.CronJob] {
	return behaviour[*batchv1.CronJob]{
		defaults: func(c *batchv1.CronJob) {
			set(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
			setPtr(&c.Spec.Suspend, false)
			setPtr(&c.Spec.SuccessfulJobsHistoryLimit, 3)
			setPtr(&c.Spec.FailedJobsHistoryLimit, 1)
			defaultJobTemplate(&c.Spec.JobTemplate.Spec)
		},
		validate: validateCronJob,
		warnings: func(c, _ *batchv1.CronJob) []string {
			var out []string
			if msgs := validation.IsDNS1123Label(c.Name); c.Name != "" && len(msgs) > 0 {
				out = append(out, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
			}
			return append(out, podSpecWarnings(&c.Spec.JobTemplate.Spec.Template.Spec, field.NewPath("spec", "jobTemplate", "spec", "template", "spec"))...)
		},
		status: true,
		columns: append([]kind.Column{
			nameColumn(),
			column("Schedule", "When it makes jobs, as crontab lines say it", func(c *batchv1.CronJob, _ time.Time) any { return c.Spec.Schedule }),
			text("Timezone", "Time zone of the schedule", func(c *batchv1.CronJob) string { return textOr(c.Spec.TimeZone, none) }),
			flag("Suspend", "Whether it makes no jobs for now", func(c *batchv1.CronJob) any {
				if c.Spec.Suspend == nil {
					return unset
				}
				return boolText(*c.Spec.Suspend)
			}),
			number("Active", "Jobs that run", func(c *batchv1.CronJob, _ time.Time) any { return int64(len(c.Status.Active)) }),
			column("Last Schedule", "Time since it made a job", func(c *batchv1.CronJob, now time.Time) any {
				if c.Status.LastScheduleTime == nil {
					return none
				}
				return age(*c.Status.LastScheduleTime, now)
			}),
			ageColumn(),
		}, templateColumns(func(c *batchv1.CronJob) (*metav1.LabelSelector, containers) {
			return c.Spec.JobTemplate.Spec.Selector, c.Spec.JobTemplate.Spec.Template.Spec.Containers
		})...),
	}
}

// defaultJobTemplate fills in the pods of a template of jobs. The jobs' own defaults come when they are made: that a template has
// no number of completions means something else than that a job has none.
func defaultJobTemplate(s *batchv1.JobSpec) { defaultPodSpec(&s.Template.Spec) }

func validateCronJob(c, old *batchv1.CronJob) field.ErrorList {
	at, s := field.NewPath("spec"), &c.Spec
	var errs field.ErrorList
	if old == nil && len(c.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", maxCronJobName)))
	}
	if s.Schedule == "" {
		errs = append(errs, field.Required(at.Child("schedule"), ""))
	} else {
		zoned := old != nil && strings.Contains(old.Spec.Schedule, "TZ")
		errs = append(errs, validateSchedule(s.Schedule, zoned, s.TimeZone, at.Child("schedule"))...)
	}
	errs = append(errs, notNegative(deref(s.StartingDeadlineSeconds), at.Child("startingDeadlineSeconds"))...)
	if s.TimeZone != nil && (old == nil || old.Spec.TimeZone == nil || *old.Spec.TimeZone != *s.TimeZone) {
		errs = append(errs, validateTimeZone(*s.TimeZone, at.Child("timeZone"))...)
	}
	errs = append(errs, oneOf(s.ConcurrencyPolicy, at.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	errs = append(errs, validateJobTemplate(&s.JobTemplate.Spec, at.Child("jobTemplate", "spec"))...)
	errs = append(errs, notNegative(deref(s.SuccessfulJobsHistoryLimit), at.Child("successfulJobsHistoryLimit"))...)
	return append(errs, notNegative(deref(s.FailedJobsHistoryLimit), at.Child("failedJobsHistoryLimit"))...)
}

func validateJobTemplate(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	job := s.DeepCopy() // as the server will see it when the controller makes one
	defaultJobSpec(job)
	errs := validateJobSpec(job, "", at)
	if s.Selector != nil {
		errs = append(errs, field.Invalid(at.Child("selector"), s.Selector, "`selector` will be auto-generated"))
	}
	if deref(s.ManualSelector) {
		errs = append(errs, field.NotSupported(at.Child("manualSelector"), true, []string{"nil", "false"}))
	}
	return errs
}

func validateSchedule(schedule string, zoned bool, zone *string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if err := parseSchedule(schedule); err != nil {
		errs = append(errs, field.Invalid(at, schedule, err.Error()))
	}
	switch {
	case !strings.Contains(schedule, "TZ"):
	case !zoned:
		errs = append(errs, field.Invalid(at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	case zone != nil:
		errs = append(errs, field.Invalid(at, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
	return errs
}

// parseSchedule survives the parser's panic on a time zone without a schedule behind it.
func parseSchedule(schedule string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("invalid schedule format: %v", v)
		}
	}()
	_, err = cron.ParseStandard(schedule)
	return err
}

var zonePart = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`) })

func validateTimeZone(zone string, at *field.Path) field.ErrorList {
	if zone == "" {
		return field.ErrorList{field.Invalid(at, zone, "timeZone must be nil or non-empty string")}
	}
	for part := range strings.SplitSeq(zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart().MatchString(part) {
			return field.ErrorList{field.Invalid(at, zone, "unknown time zone "+zone)}
		}
	}
	var errs field.ErrorList
	if strings.EqualFold(zone, "Local") {
		errs = append(errs, field.Invalid(at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(zone); err != nil {
		errs = append(errs, field.Invalid(at, zone, err.Error()))
	}
	return errs
}
