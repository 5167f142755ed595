// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Globalization;

namespace YoloQ.WinForms
{
    /// <summary>All words on the screen, in English and Chinese side by side. Any thread may read.</summary>
    public static class Texts
    {
        // key, English, Chinese
        private static readonly string[] Table =
        {
            "app.title", "YoloQ Inspection", "YoloQ 视觉检测",
            "bar.package", "Package…", "模型包…",
            "bar.picture", "Picture…", "图片…",
            "bar.folder", "Folder…", "文件夹…",
            "bar.start", "Start", "启动",
            "bar.stop", "Stop", "停止",
            "bar.step", "Single", "单张",
            "unit.fps", "fps", "张/秒",
            "unit.ms", "ms", "毫秒",
            "unit.mb", "MB", "MB",
            "unit.percent", "%", "%",
            "view.title", "Live view", "实时画面",
            "view.empty", "No picture", "没有图像",
            "view.empty_hint", "Open a model package, then a picture or a folder. They can be dropped here, too.", "请先打开模型包，再打开图片或文件夹；也可以直接拖放到这里。",
            "view.fit", "Fit", "适应",
            "view.loading", "Loading the model…", "正在加载模型…",
            "verdict.ok", "OK", "合格",
            "verdict.ng", "NG", "不合格",
            "verdict.yield", "Yield", "合格率",
            "verdict.errors", "Not inspected", "未检测",
            "verdict.fault", "FAULT", "故障",
            "alarm.clear", "No alarm", "无报警",
            "alarm.active", "Alarm: {0} since {1}", "报警：{0} 次，始于 {1}",
            "alarm.fault", "Fault: {0} since {1}", "故障：{0} 次，始于 {1}",
            "alarm.ack", "Acknowledge", "确认",
            "alarm.reset", "Reset", "清零",
            "thresholds.title", "Thresholds", "阈值",
            "thresholds.score", "Score", "置信度",
            "thresholds.iou", "IoU (NMS)", "IoU（NMS）",
            "thresholds.iou_unused", "IoU (this model needs no NMS)", "IoU（该模型无需 NMS）",
            "classes.title", "Classes and rules", "类别与规则",
            "classes.rules", "Rules…", "规则…",
            "classes.class", "Class", "类别",
            "classes.now", "Now", "当前",
            "classes.objects", "Total", "累计",
            "classes.ok", "OK", "合格",
            "classes.ng", "NG", "不合格",
            "classes.empty", "No package is loaded.", "尚未加载模型包。",
            "chart.latency", "Latency", "耗时",
            "chart.throughput", "Throughput", "吞吐量",
            "chart.spread", "{0} – {2}, mean {1}", "{0} – {2}，平均 {1}",
            "unit.ms_picture", "ms per picture", "毫秒/张",
            "unit.pictures_second", "pictures per second", "张/秒",
            "log.title", "Events", "事件",
            "health.title", "Device", "设备状态",
            "health.device", "Device", "设备",
            "health.temperature", "Temperature", "温度",
            "health.power", "Power", "功耗",
            "health.load", "Load", "负载",
            "health.memory", "Memory", "显存",
            "health.p50", "Engine p50", "推理 p50",
            "health.p99", "Engine p99", "推理 p99",
            "health.timeouts", "Timeouts", "超时",
            "health.lost", "Device lost", "掉线次数",
            "health.saved", "NG saved", "已存 NG",
            "plc.title", "PLC (Modbus TCP)", "PLC（Modbus TCP）",
            "plc.off", "off", "未启用",
            "plc.waiting", "not connected", "未连接",
            "plc.connected", "connected", "已连接",
            "plc.address", "Address", "地址",
            "plc.server", "server", "服务器",
            "plc.client", "client", "客户端",
            "plc.trigger", "Trigger", "触发",
            "plc.by_rate", "at the rate", "按速率",
            "plc.by_plc", "by the PLC ({0})", "由 PLC（{0}）",
            "status.empty", "No package", "无模型包",
            "status.loading", "Loading", "加载中",
            "status.ready", "Ready", "就绪",
            "status.running", "Running", "运行中",
            "rules.title", "Rules: what makes a picture NG", "规则：什么情况判为不合格",
            "rules.on", "On", "启用",
            "rules.class", "Class", "类别",
            "rules.when", "NG if there are", "判 NG 条件",
            "rules.count", "Objects", "数量",
            "rules.score", "With score from", "最低置信度",
            "rules.any", "any class", "任意类别",
            "rules.at_least", "at least", "不少于",
            "rules.fewer", "fewer than", "少于",
            "rules.add", "Add rule", "添加规则",
            "rules.none", "No rules: every picture is OK.", "没有规则：所有图片都判为合格。",
            "rules.hint", "A picture is NG as soon as one rule that is on applies.", "任一启用的规则成立，该图片即判为不合格。",
            "settings.title", "Settings", "设置",
            "settings.display", "Display", "显示",
            "settings.language", "Language", "语言",
            "settings.language_auto", "as Windows", "跟随系统",
            "settings.theme", "Theme", "主题",
            "settings.dark", "dark", "深色",
            "settings.light", "light", "浅色",
            "settings.scale", "Size (after restart)", "界面大小（重启生效）",
            "settings.inspection", "Inspection", "检测",
            "settings.loop", "Begin a folder again at its end", "文件夹播放完后重新开始",
            "settings.latch", "An alarm stays until it is acknowledged", "报警保持到确认为止",
            "settings.stop_on_ng", "Stop at the first NG picture", "出现 NG 时停止",
            "settings.backend", "Backend", "推理后端",
            "settings.backend_auto", "the package's own", "模型包指定",
            "settings.device", "Device number", "设备编号",
            "settings.timeout", "Timeout", "超时时间",
            "settings.ng", "NG pictures", "NG 图片",
            "settings.save_ng", "Save NG pictures with a JSON file", "保存 NG 图片及 JSON 文件",
            "settings.ng_folder", "Folder", "文件夹",
            "settings.ng_format", "Format", "格式",
            "settings.png", "PNG, exact", "PNG（无损）",
            "settings.jpg", "JPEG, small", "JPEG（较小）",
            "settings.ng_limit", "At most", "空间上限",
            "settings.plc", "PLC (Modbus TCP)", "PLC（Modbus TCP）",
            "settings.plc_on", "Connect to a PLC", "连接 PLC",
            "settings.plc_role", "This program is", "本程序作为",
            "settings.plc_server", "server (the PLC connects)", "服务器（PLC 来连接）",
            "settings.plc_client", "client (connects to the PLC)", "客户端（主动连接 PLC）",
            "settings.plc_host", "Address", "地址",
            "settings.plc_port", "Port", "端口",
            "settings.plc_unit", "Unit", "站号",
            "settings.plc_trigger", "A picture is taken", "取图方式",
            "settings.trigger_rate", "at the set rate", "按设定速率",
            "settings.trigger_plc", "when the PLC asks", "由 PLC 触发",
            "dialog.ok", "OK", "确定",
            "dialog.cancel", "Cancel", "取消",
            "dialog.package_filter", "Model package (manifest.json)|manifest.json", "模型包 (manifest.json)|manifest.json",
            "dialog.package_title", "Open a model package: choose the manifest.json in its folder", "打开模型包：请选择其文件夹中的 manifest.json",
            "dialog.picture_filter", "Pictures|*.jpg;*.jpeg;*.png;*.bmp;*.tif;*.tiff|All files|*.*", "图片|*.jpg;*.jpeg;*.png;*.bmp;*.tif;*.tiff|所有文件|*.*",
            "dialog.picture_title", "Open a picture", "打开图片",
            "dialog.folder_title", "Open a folder of pictures", "打开图片文件夹",
            "log.raw", "{0}", "{0}",
            "log.welcome", "YoloQ Inspection {0}", "YoloQ 视觉检测 {0}",
            "log.settings_damaged", "The settings were damaged, defaults are used: {0}", "设置文件已损坏，使用默认设置：{0}",
            "log.settings_unsaved", "The settings could not be saved: {0}", "设置无法保存：{0}",
            "log.package", "Package loaded: {0} on {1}, {2}", "模型包已加载：{0}，{1}，{2}",
            "log.package_failed", "The package cannot be loaded: {0}", "模型包无法加载：{0}",
            "log.source", "Source opened: {0}", "图像源已打开：{0}",
            "log.source_failed", "The source cannot be opened: {0}", "图像源无法打开：{0}",
            "log.picture_failed", "A picture cannot be read: {0}", "图片无法读取：{0}",
            "log.no_picture", "the camera gave none within {0} ms", "相机在 {0} 毫秒内没有图像",
            "log.too_many_bad", "Stopped: 100 pictures in a row could not be read", "已停止：连续 100 张图片无法读取",
            "log.no_package", "Open a model package first", "请先打开模型包",
            "log.no_source", "Open a picture or a folder first", "请先打开图片或文件夹",
            "log.started", "Started, {0} pictures per second", "已启动，每秒 {0} 张",
            "log.started_triggered", "Started, the PLC triggers", "已启动，由 PLC 触发",
            "log.stopped", "Stopped", "已停止",
            "log.end", "The folder's end is reached", "文件夹已播放完毕",
            "log.ng", "NG: {0} ({1})", "不合格：{0}（{1}）",
            "log.ng_saved", "NG picture saved: {0}", "NG 图片已保存：{0}",
            "log.ng_dropped", "NG picture not saved: the disk is too slow", "NG 图片未保存：磁盘太慢",
            "log.ng_failed", "NG picture not saved: {0}", "NG 图片未保存：{0}",
            "log.acknowledged", "Alarm acknowledged", "报警已确认",
            "log.reset", "Counters reset", "计数已清零",
            "log.inspection_failed", "Inspection failed: {0}", "检测失败：{0}",
            "log.recovered", "The inspection works again", "检测已恢复",
            "log.unknown_class", "A rule names class \"{0}\", which this package does not have", "规则中的类别“{0}”在该模型包中不存在",
            "log.trigger_lost", "A trigger of the PLC came too early or while stopped", "PLC 触发过早或未启动，已忽略",
            "log.plc_serving", "PLC: waiting for a connection on {0}:{1}", "PLC：在 {0}:{1} 等待连接",
            "log.plc_connecting", "PLC: connecting to {0}:{1}", "PLC：正在连接 {0}:{1}",
            "log.plc_on", "PLC connected", "PLC 已连接",
            "log.plc_off", "PLC connection lost", "PLC 连接中断",
            "log.plc_failed", "PLC: {0}", "PLC：{0}",
            "log.unexpected", "Unexpected error: {0}", "意外错误：{0}"
        };

        private static readonly Dictionary<string, int> Places = Index();
        private static volatile bool _chinese;

        public static bool Chinese
        {
            get { return _chinese; }
        }

        /// <param name="language">"en", "zh", or anything else for the system's</param>
        public static void Use(string language)
        {
            _chinese = language == "zh"
                || (language != "en" && CultureInfo.CurrentUICulture.TwoLetterISOLanguageName == "zh");
        }

        public static string Get(string key)
        {
            int place;
            return Places.TryGetValue(key, out place) ? Table[place + (_chinese ? 2 : 1)] : key;
        }

        public static string Format(string key, params object[] arguments)
        {
            return arguments.Length == 0 ? Get(key) : string.Format(CultureInfo.InvariantCulture, Get(key), arguments);
        }

        private static Dictionary<string, int> Index()
        {
            var places = new Dictionary<string, int>();
            for (int i = 0; i < Table.Length; i += 3)
            {
                places.Add(Table[i], i);
            }
            return places;
        }
    }
}
