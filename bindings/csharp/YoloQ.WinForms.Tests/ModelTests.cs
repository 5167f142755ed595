// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Tests
{
    public static class RuleTests
    {
        private static readonly string[] Names = { "bolt", "nut", "划痕" };

        private static Detection Object(int classId, float score)
        {
            return new Detection { ClassId = classId, Score = score };
        }

        private static Verdict Judge(Rule[] rules, params Detection[] found)
        {
            var verdict = new Verdict();
            new RuleBook(rules, Names).Judge(found, found.Length, verdict);
            return verdict;
        }

        public static void NoRuleMeansOk()
        {
            Check.True(Judge(new Rule[0], Object(0, 1)).Ok, "no rule was broken");
        }

        public static void AtLeastCountsFromTheScoreOn()
        {
            var rules = new[] { new Rule { ClassName = "划痕", Count = 2, MinScore = 0.5f } };
            Check.True(Judge(rules, Object(2, 0.9f), Object(2, 0.49f), Object(1, 0.9f)).Ok, "one is too few");
            Verdict verdict = Judge(rules, Object(2, 0.9f), Object(2, 0.5f), Object(1, 0.9f));
            Check.True(!verdict.Ok && verdict.IsBlamed(2), "two are enough, the score itself included");
            Check.True(!verdict.IsBlamed(1) && !verdict.IsBlamed(0), "other classes are not to blame");
        }

        public static void FewerThanFindsWhatIsMissing()
        {
            var rules = new[] { new Rule { ClassName = "nut", Comparison = Comparison.FewerThan, Count = 2, MinScore = 0.3f } };
            Check.True(!Judge(rules).Ok, "none is there");
            Verdict one = Judge(rules, Object(1, 0.9f));
            Check.True(!one.Ok && one.IsBlamed(1), "one is there");
            Check.True(Judge(rules, Object(1, 0.9f), Object(1, 0.3f)).Ok, "both are there");
        }

        public static void AnyClassBlamesWhatItCounted()
        {
            Verdict verdict = Judge(new[] { new Rule { MinScore = 0.5f } }, Object(0, 0.6f), Object(1, 0.4f));
            Check.True(!verdict.Ok && verdict.IsBlamed(0) && !verdict.IsBlamed(1), "only class 0 was counted");
        }

        public static void AnUnknownClassCountsNothingAndIsNamed()
        {
            var missing = new Rule { ClassName = "rivet", Comparison = Comparison.FewerThan };
            var defect = new Rule { ClassName = "crack" };
            var book = new RuleBook(new[] { missing, defect }, Names);
            Check.Equal("rivet crack", string.Join(" ", book.Unknown.Select(rule => rule.ClassName)));
            Check.True(!Judge(new[] { missing }, Object(0, 1)).Ok && Judge(new[] { defect }, Object(0, 1)).Ok, "0 objects");
        }

        public static void ARuleThatIsOffDoesNothing()
        {
            Check.True(Judge(new[] { new Rule { Enabled = false, MinScore = 0 } }, Object(0, 1)).Ok, "it is off");
        }

        public static void TheSecondVerdictForgetsTheFirst()
        {
            var book = new RuleBook(new[] { new Rule() }, Names);
            var verdict = new Verdict();
            book.Judge(new[] { Object(1, 1) }, 1, verdict);
            book.Judge(new Detection[0], 0, verdict);
            Check.True(verdict.Ok && !verdict.IsBlamed(1), "nothing of the first is left");
        }

        public static void CountersCountPerClass()
        {
            var counters = new Counters();
            counters.Reset(3);
            var rules = new[] { new Rule { ClassName = "划痕" } };
            Detection[] bad = { Object(0, 1), Object(0, 1), Object(2, 1) };
            Detection[] good = { Object(0, 1), Object(77, 1) };
            counters.Add(bad, 3, Judge(rules, bad), true);
            counters.Add(good, 2, Judge(rules, good), true);
            counters.Add(bad, 3, Judge(rules, bad), false);
            Check.Equal(1L, counters.Ok);
            Check.Equal(1L, counters.Ng);
            var counts = new ClassCount[0];
            Check.Equal(3, counters.CopyTo(ref counts));
            Check.Equal("2 3 2 0", string.Join(" ", counts[0].Now, counts[0].Objects, counts[0].Ok, counts[0].Ng));
            Check.Equal("1 1 0 1", string.Join(" ", counts[2].Now, counts[2].Objects, counts[2].Ok, counts[2].Ng));
        }
    }

    public static class AlarmTests
    {
        public static void ALatchedAlarmStaysUntilAcknowledged()
        {
            var alarm = new Alarm { Latched = true };
            alarm.Judged(false);
            alarm.Judged(true);
            alarm.Judged(false);
            Check.Equal(AlarmState.Active, alarm.State);
            Check.Equal(2, alarm.Pending);
            Check.True(alarm.Acknowledge() && !alarm.Acknowledge(), "there was one alarm to acknowledge");
            Check.Equal(AlarmState.Clear, alarm.State);
        }

        public static void AnUnlatchedAlarmFollowsThePicturesButNotAFault()
        {
            var alarm = new Alarm { Latched = false };
            alarm.Judged(false);
            alarm.Judged(true);
            Check.Equal(AlarmState.Clear, alarm.State);
            alarm.Failed();
            alarm.Judged(true);
            Check.True(alarm.State == AlarmState.Active && alarm.Fault, "a fault wants to be seen");
        }
    }

    public static class JournalTests
    {
        public static void ItIsBoundedAndKeepsTheNewest()
        {
            var journal = new Journal(3);
            for (int i = 0; i < 10; i++)
            {
                journal.Add(Severity.Info, "log.raw", i);
            }
            var entries = new List<JournalEntry>();
            journal.CopyTo(entries);
            Check.Equal("7 8 9", string.Join(" ", entries.Select(entry => entry.Text)));
        }

        public static void ARepeatedEventIsCounted()
        {
            var journal = new Journal();
            journal.Add(Severity.Error, "log.raw", "gone");
            journal.Add(Severity.Error, "log.raw", "gone");
            journal.Add(Severity.Error, "log.raw", "gone");
            journal.Add(Severity.Error, "log.raw", "back");
            var entries = new List<JournalEntry>();
            journal.CopyTo(entries);
            Check.Equal("gone ×3, back", string.Join(", ", entries.Select(entry => entry.Text)));
        }

        public static void OldEventsChangeTheirLanguage()
        {
            var journal = new Journal();
            Texts.Use("en");
            journal.Add(Severity.Info, "log.stopped");
            var entries = new List<JournalEntry>();
            journal.CopyTo(entries);
            Check.Equal("Stopped", entries[0].Text);
            Texts.Use("zh");
            Check.Equal("已停止", entries[0].Text);
            Texts.Use("en");
        }
    }

    public static class SeriesTests
    {
        public static void TheNewestValuesOldestFirst()
        {
            var series = new Series(3);
            var values = new float[3];
            Check.Equal(0, series.CopyTo(values));
            foreach (float value in new[] { 1f, 2, 3, 4, 5 })
            {
                series.Add(value);
            }
            Check.Equal(3, series.CopyTo(values));
            Check.Equal("3 4 5", string.Join(" ", values));
        }
    }

    public static class SettingsTests
    {
        private static string Fresh()
        {
            string folder = Path.Combine(Path.GetTempPath(), "yoloq-settings-" + Guid.NewGuid().ToString("N"));
            return Path.Combine(folder, "子文件夹", "settings.json");
        }

        private static void Clean(string path)
        {
            Directory.Delete(Path.GetDirectoryName(Path.GetDirectoryName(path)), true);
        }

        public static void EverythingComesBack()
        {
            string path = Fresh();
            var store = new SettingsStore(path);
            AppSettings settings = store.Load();
            Check.True(store.Problem == null, "a missing file is no problem");
            settings.PackagePath = "D:\\模型\\紧固件.yoloq";
            settings.Rate = 12.5;
            settings.Rules.Add(new Rule { ClassName = "划痕", Comparison = Comparison.FewerThan, Count = 4, MinScore = 0.35f, Enabled = false });
            settings.Plc.Port = 15020;
            Action<Exception> failed = error => { throw new InvalidOperationException("not saved", error); };
            Check.True(store.Save(settings, failed).Wait(10000) && store.Save(settings, failed).Wait(10000), "over the first, too");
            AppSettings again = new SettingsStore(path).Load();
            Check.Equal("D:\\模型\\紧固件.yoloq|12.5|15020", again.PackagePath + "|" + again.Rate + "|" + again.Plc.Port);
            Rule rule = again.Rules.Single();
            Check.Equal("划痕|FewerThan|4|0.35|False", string.Join("|", rule.ClassName, rule.Comparison, rule.Count, rule.MinScore, rule.Enabled));
            Check.True(!File.Exists(path + ".part"), "nothing is left beside it");
            Clean(path);
        }

        public static void AnOldFileLacksNewFields()
        {
            string path = Fresh();
            Directory.CreateDirectory(Path.GetDirectoryName(path));
            File.WriteAllText(path, "{\"Rate\": 3, \"Unknown\": 1, \"Rules\": [{\"ClassName\": \"nut\"}], \"Plc\": {}}");
            AppSettings settings = new SettingsStore(path).Load();
            Check.Equal("3|0.25|True|1|0.5|1502", string.Join("|", settings.Rate, settings.ScoreThreshold, settings.LatchAlarm,
                settings.Rules[0].Count, settings.Rules[0].MinScore, settings.Plc.Port));
            Clean(path);
        }

        public static void DamagedFilesGiveDefaultsAndAreKept()
        {
            foreach (string text in new[] { "", "null", "{", "{\"Rate\": 3", "{\"Rate\": \"fast\"}", "\0\0\0\0", "{\"Rules\": 5}" })
            {
                string path = Fresh();
                Directory.CreateDirectory(Path.GetDirectoryName(path));
                File.WriteAllText(path, text);
                var store = new SettingsStore(path);
                Check.Equal(10.0, store.Load().Rate);
                Check.True(store.Problem != null, "should be told of: " + text);
                Check.Equal(text, File.ReadAllText(path + ".damaged"));
                Clean(path);
            }
        }

        public static void ImpossibleValuesAreBroughtIntoRange()
        {
            string path = Fresh();
            Directory.CreateDirectory(Path.GetDirectoryName(path));
            File.WriteAllText(path, "{\"Rate\": -1, \"ScoreThreshold\": 7, \"IouThreshold\": 0, \"TimeoutMs\": 0, \"ScalePercent\": 9999,"
                + "\"NgFolder\": \" \", \"NgFormat\": \"exe\", \"Language\": null, \"Rules\": [null, {\"Count\": -3, \"MinScore\": 9}],"
                + "\"Plc\": {\"Port\": 99999, \"Host\": null}, \"Window\": null, \"Device\": null}");
            AppSettings settings = new SettingsStore(path).Load();
            Check.Equal("10|0.25|0.7|10|250|png|auto|1|0.5|65535|127.0.0.1", string.Join("|", settings.Rate, settings.ScoreThreshold,
                settings.IouThreshold, settings.TimeoutMs, settings.ScalePercent, settings.NgFormat, settings.Language,
                settings.Rules.Single().Count, settings.Rules[0].MinScore, settings.Plc.Port, settings.Plc.Host));
            Check.True(settings.NgFolder.Length > 1 && settings.Window != null && settings.Device != null, "defaults");
            Clean(path);
        }

        public static void AFileIsWholeOrNotThere()
        {
            string path = Fresh();
            Directory.CreateDirectory(Path.GetDirectoryName(path));
            byte[] first = new byte[200000], second = Enumerable.Repeat((byte)1, 200000).ToArray();
            JsonFile.Write(path, first);
            Task writer = Task.Run(() =>
            {
                for (int i = 0; i < 100; i++)
                {
                    JsonFile.Write(path, i % 2 == 0 ? second : first);
                }
            });
            while (!writer.IsCompleted)
            {
                byte[] read = File.ReadAllBytes(path);
                Check.True(read.Length == 200000 && read.All(value => value == read[0]), "half a file was seen");
            }
            writer.Wait();
            Clean(path);
        }
    }
}
